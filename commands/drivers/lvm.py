"""Storage on LVM thin volumes: a template, a release, a volume is a thin logical volume with a file system on it.

A release is a read-only thin snapshot, which needs no size and is not skipped when its group is activated; a data
snapshot is one that is skipped. Nothing is ever merged (`lvconvert --merge` would use the snapshot up): a root is
changed by mounting another device. No command snapshots several volumes at one instant, so the jail has to be stopped.

A template is mounted writable while it is built, read-only once it is finished, and not at all from the first release
on: what a snapshot is taken of is clean. The volumes of the jails are mounted for as long as the pool is.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from commands.drivers.base import DataSnapshot, Host, PoolSpec, Presence, Source
from commands.drivers.lvm_pool import LvmPool
from commands.drivers.lvm_report import STATE, TRASH, LogicalVolume, marks_of, name_of, only, tags_of
from commands.drivers.mounts import is_mount_of, mount_device, mounted, mounts_of_device, topmost
from commands.drivers.objects import UNWOUND, Thing, foreign_snapshot
from commands.errors import DriverError, Foreign
from ledger.names import Name, ReleaseName, TransactionId

#: Where ext4 (superblock at 1024) and XFS (at 0) write when they were mounted, last written or unmounted.
_HEAD_BYTES = 4096
_MKFS_TIMEOUT_S = 600.0
#: Beside the root of a volume: where the release is mounted that it is filled from.
_FROM = "from"
_MKFS = {"ext4": ("mkfs.ext4", "-q", "-F", "--"), "xfs": ("mkfs.xfs", "-q", "-f", "--")}


@dataclass(frozen=True, slots=True)
class NewVolumes:
    """What new file systems are like; those that are there already stay as they are."""

    file_system: Literal["ext4", "xfs"] = "ext4"
    root_bytes: int = 10 << 30
    volume_bytes: int = 10 << 30


class LvmStorage(LvmPool):
    """The Storage in a thin pool. What does not bear our tags is FOREIGN."""

    def __init__(self, host: Host, pool: PoolSpec, new: NewVolumes) -> None:
        super().__init__(host, pool)
        self._new = new

    # Things

    def _name(self, thing: Thing) -> str:
        """What the logical volume of a thing is called; only a data snapshot that is set aside gets another name."""
        key = thing.marks.replace("snapshots/", "unwound/") if UNWOUND in thing.place else thing.marks
        return name_of(self._ids()[0], key)

    def _presence(self, thing: Thing) -> Presence:
        return self._judge(self._report(), thing)

    def _judge(self, report: Sequence[LogicalVolume], thing: Thing) -> Presence:
        """The presence of a thing, by the report."""
        found = only(report, self._name(thing))
        if found is None:
            return self._remains(thing)
        if marks_of(found) != thing.marks or found.pool != self._ids()[1]:
            return Presence.FOREIGN
        if found.told(TRASH) != _trash_of(self._home, thing):
            return Presence.ABSENT
        return Presence.PRESENT if found.told(STATE) == "built" else Presence.PARTIAL

    def _remains(self, thing: Thing) -> Presence:
        """What is there of a thing without a logical volume: perhaps mount points, of an attempt that was killed."""
        inside = self._host.entries(thing.place)
        if self._host.stat(thing.place) is None:
            return Presence.ABSENT
        return Presence.PARTIAL if set(inside) <= {"root", _FROM} else Presence.FOREIGN

    def _immutable_presence(self, thing: Thing) -> Presence:
        report = self._report()
        presence, found = self._judge(report, thing), only(report, self._name(thing))
        is_writable = found is not None and not found.is_read_only
        return Presence.PARTIAL if presence is Presence.PRESENT and is_writable else presence

    def _make(self, thing: Thing, size_bytes: int | None = None) -> None:
        """Make a thin volume with an empty file system and mount it writable."""
        name, (group, pool) = self._name(thing), self._ids()
        usual = self._new.volume_bytes if thing.marks.startswith("volumes/") else self._new.root_bytes
        tags = tags_of(thing.marks, "building")
        self._change("lvcreate", "--yes", "-V", f"{size_bytes or usual}b", "--thinpool", pool, "-n", name, *tags, group)
        self._host.run([*_MKFS[self._new.file_system], self._device(name)], timeout_s=_MKFS_TIMEOUT_S)
        self._mount(thing, name, writable=True)
        # ext4's own directory, which neither a root nor data expect; fsck makes it anew where it is needed.
        self._host.remove(f"{thing.root}/lost+found")

    def _make_copy(self, thing: Thing, origin: Thing, *, immutable: bool) -> None:
        """Snapshot a thing; a copy that is to be changed is mounted writable."""
        name, source = self._name(thing), self._name(origin)
        if immutable:
            self._unmount(origin, source)
        kind = ["-kn", "-pr"] if immutable else ["-kn"]
        self._snapshot(name, source, *kind, *tags_of(thing.marks, "building"))
        if not immutable:
            self._mount(thing, name, writable=True)

    def _snapshot(self, name: str, origin: str, *options: str) -> None:
        """A thin snapshot. The kernel freezes a mounted origin while it is taken. A size would make it an old one."""
        self._change("lvcreate", "--yes", "-s", *options, "-n", name, f"{self._ids()[0]}/{origin}")

    def _complete(self, thing: Thing) -> None:
        """Read-only from here on: the file system is clean, and what a recipe has left running is found out."""
        self._mount(thing, self._name(thing), writable=True)
        self._host.run(["mount", "-o", "remount,ro", "--", thing.root])

    def _finish(self, thing: Thing) -> None:
        if self._host.stat(thing.root) is not None:
            self._host.sync(thing.root)
        self._retag(thing, f"{STATE}building", f"{STATE}built")

    def _retag(self, thing: Thing, old: str | None, new: str | None) -> None:
        """Exchange one tag for another, in one change of the metadata."""
        gone = ["--deltag", old] if old else []
        come = ["--addtag", new] if new else []
        self._change("lvchange", *gone, *come, f"{self._ids()[0]}/{self._name(thing)}")

    def _destroy(self, thing: Thing) -> None:
        report, name = self._report(), self._name(thing)
        presence = self._judge(report, thing)
        if presence is Presence.ABSENT:
            return
        if presence is Presence.FOREIGN:
            is_volume = only(report, name) is not None
            what = self._device(name) if is_volume else thing.place
            remedy = "rename it yourself with lvrename" if is_volume else "move it away yourself"
            raise Foreign(f"cannot destroy {what}: it is not ours", remedy=remedy)
        self._take_down(thing, name)
        if only(report, name) is not None:
            self._refuse_used("destroy", thing)
            self._change("lvremove", "--yes", f"{self._ids()[0]}/{name}")

    def _take_down(self, thing: Thing, name: str) -> None:
        """Unmount what we have mounted at the place of a thing, and remove that."""
        source = f"{thing.place}/{_FROM}"
        if topmost(mounted(self._host), source) is not None:
            ours = (self._device(volume.name) for volume, _ in self._ours(self._report()))
            if not any(is_mount_of(self._host, source, device) for device in ours):
                raise Foreign(
                    f"cannot unmount {source}: what is mounted there is not ours", remedy="unmount it yourself"
                )
            self._host.run(["umount", "--", source])
        self._host.remove(source)
        self._unmount(thing, name)

    def _move(self, old: Thing, new: Thing) -> None:
        """Into the trash and back: a tag says where it is, and the device keeps its name."""
        with self._one_report():
            if self._presence(old) is Presence.ABSENT and self._presence(new) is Presence.PRESENT:
                return
            self._require(old)
        self._unmount(old, self._name(old))
        self._refuse_used("move", old)
        by = _trash_of(self._home, new)
        gone = None if by else f"{TRASH}{_trash_of(self._home, old)}"
        self._retag(old, gone, f"{TRASH}{by}" if by else None)

    def _refuse_used(self, verb: str, thing: Thing) -> None:
        found = only(self._report(), self._name(thing))
        if found is None or not found.is_open:
            return
        shown = mounts_of_device(self._host, self._device(found.name))
        where = f"mounted at {shown[0].path}" if shown else "in use"
        raise DriverError(
            f"cannot {verb} {thing.marks}: it is {where}", remedy=f"see `lsof {self._device(found.name)}`"
        )

    @contextmanager
    def _readable(self, thing: Thing, reader: Thing) -> Iterator[str]:
        """Mount a release for a while, at the place of what is made from it: whoever destroys that unmounts it."""
        self._require(thing)
        source = f"{reader.place}/{_FROM}"
        self._host.make_directory(source, 0o700)
        mount_device(self._host, self._device(self._name(thing)), source, writable=False)
        try:
            yield source
        finally:
            self._host.run(["umount", "--", source])
            self._host.remove(source)

    # What there is: one report tells of everything

    def templates(self) -> tuple[tuple[Name, TransactionId], ...]:
        """Every template head in the pool that is ours, finished or not."""
        with self._one_report():
            return super().templates()

    def releases(self) -> tuple[ReleaseName, ...]:
        """Every release in the pool that is ours."""
        with self._one_report():
            return super().releases()

    def volumes(self, jail: Name) -> tuple[Name, ...]:
        """The volumes of a jail that are there and ours."""
        with self._one_report():
            return super().volumes(jail)

    def trash(self) -> tuple[TransactionId, ...]:
        """The transactions that have something in the trash."""
        with self._one_report():
            return super().trash()

    def retired_presence(self, release: ReleaseName, by: TransactionId) -> Presence:
        """Whether the release is out of use, kept in the trash of the transaction ``by``."""
        with self._one_report():
            return super().retired_presence(release, by)

    # Releases

    def fingerprint(self, release: ReleaseName) -> str:
        """Which logical volume it is, and a digest of its superblock.

        ext4 and XFS change the superblock whenever they were mounted writable and written to. What is written to the
        device around the file system is not noticed; that takes a permission that ``release_presence`` looks at.
        """
        thing = self._release(release)
        found = only(self._report(), self._name(thing))
        if found is None:
            raise DriverError(f"cannot take the fingerprint of release {release}: it is not there")
        return f"lvm:{found.uuid}:{self._superblock(self._device(found.name))}"

    def _superblock(self, device: str) -> str:
        head = self._host.run(["od", "-An", "-v", "-tx1", f"-N{_HEAD_BYTES}", "--", device]).stdout
        return hashlib.sha256(head.encode()).hexdigest()

    def root_source(self, release: ReleaseName) -> Source:
        """What to mount, read-only, as the root of a jail on this release."""
        return Source("device", self._device(self._name(self._release(release))))

    # Data snapshots

    def snapshots(self, jail: Name) -> tuple[DataSnapshot, ...]:
        """The data snapshots of a jail, kept or unwound. Their devices have to be activated to be read."""
        found: dict[str, list[Name]] = {}
        for _, place in self._ours(self._report()):
            kind, *names = place.split("/")
            if kind == "snapshots" and names[0] == jail:
                found.setdefault(names[1], []).append(names[2])
        return tuple(
            DataSnapshot(jail, label.removesuffix(UNWOUND), tuple(sorted(volumes)), label.endswith(UNWOUND), path)
            for label, volumes in sorted(found.items())
            for path in [self._device(self._name(self._copy(jail, label, "*")))]
        )

    def snapshot_presence(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> Presence:
        """PRESENT when every volume has its read-only snapshot."""
        report = self._report()
        there = [self._judge(report, self._copy(jail, snapshot, volume)) for volume in volumes]
        if Presence.FOREIGN in there:
            return Presence.FOREIGN
        if all(presence is Presence.PRESENT for presence in there):
            return Presence.PRESENT
        return Presence.ABSENT if all(presence is Presence.ABSENT for presence in there) else Presence.PARTIAL

    def snapshot_volumes(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Snapshot the volumes of a stopped jail one after the other; each is whole or not there."""
        with self._one_report() as report:
            there = self.snapshot_presence(jail, volumes, snapshot)
        match there:
            case Presence.PRESENT:
                return
            case Presence.FOREIGN:
                raise foreign_snapshot("take", jail, snapshot)
            case Presence.PARTIAL:
                self.set_snapshot_aside(jail, volumes, snapshot)
            case Presence.ABSENT:
                pass
        for volume in volumes:
            copy, origin = self._copy(jail, snapshot, volume), self._volume(jail, volume)
            if self._judge(report, origin) is not Presence.PRESENT:
                raise DriverError(f"cannot snapshot volume {volume} of {jail}: it is not there")
            self._snapshot(self._name(copy), self._name(origin), "-ky", "-pr", *tags_of(copy.marks, "built"))

    def set_snapshot_aside(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Undo ``snapshot_volumes``: a complete snapshot is kept, renamed; an incomplete one is destroyed.

        They are renamed one after the other: one of which some are renamed already is complete as well.
        """
        report = self._report()
        kept = [self._copy(jail, snapshot, volume) for volume in volumes]
        aside = [self._copy(jail, f"{snapshot}{UNWOUND}", volume) for volume in volumes]
        there = [self._judge(report, copy) for copy in kept]
        if Presence.FOREIGN in there:
            raise foreign_snapshot("set aside", jail, snapshot)
        is_whole = all(
            presence is Presence.PRESENT or self._judge(report, other) is Presence.PRESENT
            for presence, other in zip(there, aside, strict=True)
        )
        for copy, other, presence in zip(kept, aside, there, strict=True):
            if presence is Presence.ABSENT:
                continue
            if is_whole:
                self._change("lvrename", self._ids()[0], self._name(copy), self._name(other))
            else:
                self._destroy(copy)

    def _copy(self, jail: Name, label: str, volume: Name) -> Thing:
        """The snapshot of one volume; ``label`` is the transaction, with a suffix once it is set aside."""
        place = f"snapshots/{jail}/{label}/{volume}"
        return Thing(f"{self._home}/{place}", place.replace(UNWOUND, ""))


def _trash_of(home: str, thing: Thing) -> str | None:
    """The transaction whose trash a thing is in."""
    kind, _, rest = thing.place.removeprefix(f"{home}/").partition("/")
    return rest.partition("/")[0] if kind == "trash" else None

"""A thin pool of the administrator's, and the logical volumes in it that are ours.

rootswap makes neither volume groups nor thin pools. ``init`` leaves a tag on the thin pool, which tells it from one
that another rootswap uses. *Mounted* means here: everything of ours is active, and the volumes of the jails are mounted
beneath ``POOL/rootswap``; a reboot undoes both.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from commands.drivers.base import Host, PoolSpec, Presence, Space
from commands.drivers.lvm_report import (
    COLUMNS,
    POOL,
    STATE,
    TRASH,
    LogicalVolume,
    marks_of,
    name_of,
    only,
    parse_report,
)
from commands.drivers.mounts import is_mount_of, mount_device, mounted, topmost
from commands.drivers.objects import UNWOUND, ObjectStorage, Thing
from commands.errors import DriverError, Foreign

#: Else LVM complains first of all about the lock of the ledger, which our commands inherit.
_ENVIRONMENT = {"LVM_SUPPRESS_FD_WARNINGS": "1"}
_LOOK_TIMEOUT_S = 30.0
_CHANGE_TIMEOUT_S = 120.0
#: More than this share of the metadata used: refuse. A pool without room for metadata has to be repaired offline.
_METADATA_LIMIT = 0.8


class LvmPool(ObjectStorage):
    """The pool, and how logical volumes are found, activated, mounted and unmounted."""

    def __init__(self, host: Host, pool: PoolSpec) -> None:
        super().__init__(host, pool)
        self._known_disks: tuple[str, ...] | None = None
        self._held_report: tuple[LogicalVolume, ...] | None = None

    # Looking

    def _ids(self) -> tuple[str, str]:
        """Volume group and thin pool."""
        group, _, pool = (self._pool.thin_pool or "").partition("/")
        return group, pool

    def _report(self) -> tuple[LogicalVolume, ...]:
        """Every logical volume of the group. Raises DriverError when the group is not there, or lvs hangs."""
        if self._held_report is not None:
            return self._held_report
        group, _ = self._ids()
        argv = ["lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", COLUMNS, group]
        completed = self._host.run(argv, timeout_s=_LOOK_TIMEOUT_S, check=False, environment=_ENVIRONMENT)
        if completed.status != 0:
            said = [line.strip() for line in completed.stderr.splitlines() if not line.strip().startswith("WARNING")]
            cause = next(filter(None, said), "lvs failed")
            remedy = f"look at `vgs` and `pvs`: is the disk of volume group {group} there?"
            raise DriverError(f"cannot use thin pool {self._pool.thin_pool}: {cause}", remedy=remedy)
        return parse_report(completed.stdout)

    @contextmanager
    def _one_report(self) -> Iterator[tuple[LogicalVolume, ...]]:
        """Have all that is asked within answered by one report; nothing may be changed meanwhile."""
        self._held_report = self._report()
        try:
            yield self._held_report
        finally:
            self._held_report = None

    def _thin_pool(self, report: Sequence[LogicalVolume]) -> LogicalVolume:
        """The thin pool. Raises DriverError when it is none or in an error state."""
        _, name = self._ids()
        found = only(report, name)
        if found is None or not found.is_thin_pool:
            remedy = "make one with lvcreate --type thin-pool, or correct thin_pool in the [storage] table"
            raise DriverError(f"cannot use thin pool {self._pool.thin_pool}: there is none", remedy=remedy)
        if found.health:
            remedy = "see lvmthin(7); data: extend the pool; metadata: lvconvert --repair with the pool inactive"
            raise DriverError(f"cannot use thin pool {self._pool.thin_pool}: it is {found.health}", remedy=remedy)
        return found

    def _laid_out(self) -> str:
        return self._home

    def _ours(self, report: Sequence[LogicalVolume]) -> Iterator[tuple[LogicalVolume, str]]:
        """The logical volumes of ours in the pool, with their places beneath the home."""
        group, pool = self._ids()
        for volume in report:
            marks = marks_of(volume)
            if marks is None or volume.pool != pool:
                continue
            retired_by = volume.told(TRASH)
            kind, *names = marks.split("/")
            if retired_by is not None:
                yield volume, f"trash/{retired_by}/{names[0]}"
            elif kind == "snapshots" and volume.name != name_of(group, marks):
                yield volume, f"snapshots/{names[0]}/{names[1]}{UNWOUND}/{names[2]}"
            else:
                yield volume, marks

    def _used(self, report: Sequence[LogicalVolume]) -> Iterator[tuple[LogicalVolume, str]]:
        """What has to be active for the pool to be of use: all that is finished, but for the data snapshots."""
        for volume, place in self._ours(report):
            if volume.told(STATE) == "built" and not place.startswith("snapshots/"):
                yield volume, place

    def _names(self, directory: str) -> tuple[str, ...]:
        places = (place for _, place in self._ours(self._report()))
        below = (place.removeprefix(f"{directory}/") for place in places if place.startswith(f"{directory}/"))
        return tuple(sorted({name.partition("/")[0] for name in below}))

    def _device(self, name: str) -> str:
        return f"/dev/{self._ids()[0]}/{name}"

    # Pool

    def pool_presence(self, pool: PoolSpec) -> Presence:
        """Whether the thin pool bears our tag; PARTIAL when a reboot has left anything of ours inactive or unmounted.

        Raises DriverError when the pool is not there or in an error state.
        """
        where = self.pool_mounted(pool)
        if where is Presence.ABSENT and self._is_tagged(self._thin_pool(self._report())):
            return Presence.PARTIAL
        return where

    def _is_tagged(self, thin_pool: LogicalVolume) -> bool:
        return thin_pool.told(POOL) is not None

    def _pool_tag(self) -> str:
        """Which rootswap it is that uses the pool: the one with this path, which need not be fit for a tag."""
        return f"{POOL}{hashlib.sha256(self._pool.path.encode()).hexdigest()[:16]}"

    def create_pool(self, pool: PoolSpec) -> None:
        """Put our tag on the thin pool."""
        found = self._thin_pool(self._report())
        if self._is_tagged(found):
            self._require_ours(found)
            self.mount_pool(pool)
            return
        self._change("lvchange", "--addtag", self._pool_tag(), str(pool.thin_pool))

    def destroy_pool(self, pool: PoolSpec) -> None:
        """Take our tag off the thin pool again; refuses while it holds anything of ours."""
        report = self._report()
        found = self._thin_pool(report)
        if not self._is_tagged(found):
            return
        self._require_ours(found)
        for _, place in self._ours(report):
            raise DriverError(f"cannot remove the pool {pool.thin_pool}: it holds {place}")
        self._change("lvchange", "--deltag", self._pool_tag(), str(pool.thin_pool))

    def _require_ours(self, thin_pool: LogicalVolume) -> None:
        if self._pool_tag() not in thin_pool.tags:
            remedy = f"give each its own thin pool, or put the path back; the tag is {POOL}{thin_pool.told(POOL)}"
            raise Foreign(f"cannot use thin pool {self._pool.thin_pool}: another rootswap uses it", remedy=remedy)

    def pool_mounted(self, pool: PoolSpec) -> Presence:
        """Whether all of ours is active and every volume mounted; FOREIGN when another rootswap uses the pool."""
        report = self._report()
        found = self._thin_pool(report)
        if not self._is_tagged(found):
            return Presence.ABSENT
        if self._pool_tag() not in found.tags:
            return Presence.FOREIGN
        up = [volume.is_active and self._is_where_it_belongs(volume, place) for volume, place in self._used(report)]
        if all(up):
            return Presence.PRESENT
        some = any(volume.is_active for volume, _ in self._used(report))
        return Presence.PARTIAL if some else Presence.ABSENT

    def _is_where_it_belongs(self, volume: LogicalVolume, place: str) -> bool:
        """Whether a volume is mounted; nothing else needs to be."""
        thing = self._thing(place)
        return not place.startswith("volumes/") or is_mount_of(self._host, thing.root, self._device(volume.name))

    def mount_pool(self, pool: PoolSpec) -> None:
        """Activate what is ours, though it be marked to be skipped, and mount the volumes."""
        report = self._report()
        self._require_ours(self._thin_pool(report))
        used = list(self._used(report))
        sleeping = [volume.name for volume, _ in used if not volume.is_active]
        if sleeping:
            group, _ = self._ids()
            names = [f"{group}/{name}" for name in sleeping]
            self._change("lvchange", "--activate", "y", "--ignoreactivationskip", *names)
        for volume, place in used:
            if place.startswith("volumes/"):
                self._mount(self._thing(place), volume.name, writable=True)

    def unmount_pool(self, pool: PoolSpec) -> None:
        """Unmount what is ours and deactivate it. Raises DriverError while a jail still uses it."""
        report = self._report()
        if not self._is_tagged(self._thin_pool(report)):
            return
        self._require_ours(self._thin_pool(report))
        active = [(volume, place) for volume, place in self._ours(report) if volume.is_active]
        for volume, place in active:
            self._unmount(self._thing(place), volume.name)
        if active:
            group, _ = self._ids()
            self._change("lvchange", "--activate", "n", *(f"{group}/{volume.name}" for volume, _ in active))

    def space(self) -> Space:
        """Room left in the thin pool, of data and of metadata; what all volumes may grow to is not counted."""
        found = self._thin_pool(self._report())
        if found.data_percent is None or found.metadata_percent is None:
            remedy = f"activate it with `lvchange -ay {self._pool.thin_pool}`"
            raise DriverError(f"cannot ask thin pool {self._pool.thin_pool} for its space: not active", remedy=remedy)
        cautions = []
        if found.when_full != "error":
            cautions.append(
                f"once thin pool {self._pool.thin_pool} is full, writes wait a minute and then fail, also those of "
                "your jails; have it extended in time (dmeventd), or see lvchange --errorwhenfull"
            )
        if volatile := [disk for disk in self._disks() if self._is_volatile(disk)]:
            cautions.append(
                f"{', '.join(volatile)} may lose what LVM has written when the power goes, and with it the volume "
                "group, for LVM does not flush: turn the write cache of the disk off (hdparm -W0), unless a battery "
                "keeps it"
            )
        return Space(
            data_free_bytes=int(found.size_bytes * (1 - found.data_percent / 100)),
            metadata_free_bytes=int(found.metadata_size_bytes * (1 - found.metadata_percent / 100)),
            size_bytes=found.size_bytes,
            metadata_reserve_bytes=int(found.metadata_size_bytes * (1 - _METADATA_LIMIT)),
            cautions=tuple(cautions),
        )

    def _is_volatile(self, disk: str) -> bool:
        """Whether a disk says that it has a write cache to be flushed; see queue/write_cache in sysfs-block(5)."""
        home = f"/sys/class/block/{os.path.basename(disk)}"
        for path in (f"{home}/queue/write_cache", f"{home}/../queue/write_cache"):  # the second for a partition
            if self._host.stat(path) is not None:
                return self._host.read(path).strip() == b"write back"
        return False  # a name that LVM or an administrator has given it; nobody is to be warned by a guess

    # Changing

    def _change(self, *argv: str) -> None:
        """Run a command of LVM; its metadata is on the disk when this returns.

        LVM writes past the page cache and does not flush what the disks cache themselves, so we do.
        """
        self._host.run(argv, timeout_s=_CHANGE_TIMEOUT_S, environment=_ENVIRONMENT)
        if disks := self._disks():
            self._host.run(["sync", "--", *disks], timeout_s=_CHANGE_TIMEOUT_S)

    def _disks(self) -> tuple[str, ...]:
        """The physical volumes of the group, each of which may hold its metadata; asked for once."""
        if self._known_disks is None:
            asked = ["vgs", "--noheadings", "-o", "pv_name", self._ids()[0]]
            told = self._host.run(asked, timeout_s=_LOOK_TIMEOUT_S, environment=_ENVIRONMENT).stdout.split()
            self._known_disks = tuple(name for name in told if name.startswith("/"))
        return self._known_disks

    def _mount(self, thing: Thing, name: str, *, writable: bool) -> None:
        """Mount at the place of a thing; mounted already is success. Raises Foreign when anything else is there."""
        device = self._device(name)
        if is_mount_of(self._host, thing.root, device):
            return
        top = topmost(mounted(self._host), thing.root)
        what = top.source if top is not None else next(iter(self._host.entries(thing.root)), None)
        if what is not None:
            remedy = "move it away yourself"
            raise Foreign(f"cannot mount {device} at {thing.root}: {what} is there", remedy=remedy)
        self._host.make_directory(thing.root, 0o700)
        self._host.resolve_beneath("/", thing.root)
        mount_device(self._host, device, thing.root, writable=writable)

    def _unmount(self, thing: Thing, name: str) -> None:
        """Unmount a thing from its own place, and remove that."""
        if is_mount_of(self._host, thing.root, self._device(name)):
            self._host.run(["umount", "--", thing.root])
        directory = thing.root
        while directory != self._home and not self._host.entries(directory):
            self._host.remove(directory)
            directory = os.path.dirname(directory)

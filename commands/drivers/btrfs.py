"""Storage on Btrfs: a template, a release, a volume is a subvolume with a mark beside it.

Beneath ``POOL/rootswap``::

    templates/NAME/HEAD/{mark,root}          read-write
    releases/NAME@ID/{mark,root}             read-only
    volumes/JAIL/VOLUME/{mark,root}          read-write
    snapshots/JAIL/TX/VOLUME                 read-only; TX+unwound once set aside
    trash/TX/NAME@ID/{mark,root}             retired releases

A ``root`` without our mark, or that is no subvolume, is FOREIGN. A read-only subvolume cannot be renamed into another
directory, but the directory that it is in can: that is how a release gets into the trash and back.
"""

from collections.abc import Sequence

from commands.drivers.base import DataSnapshot, Presence, Source, Volume
from commands.drivers.btrfs_objects import BtrfsObjects
from commands.drivers.btrfs_subvolumes import delete_subvolume, flatten_subvolume, subvolume
from commands.errors import DriverError, Foreign
from ledger.names import Name, ReleaseName, TransactionId, is_name, is_release, template_of

_UNWOUND = "+unwound"
_COPY_TIMEOUT_S = 4 * 3600.0


class BtrfsStorage(BtrfsObjects):
    """The Storage on a Btrfs pool. Raises DriverError for everything but the pool itself while that is not mounted."""

    # Templates

    def templates(self) -> tuple[tuple[Name, TransactionId], ...]:
        """Every template head in the pool that is ours, finished or not."""
        pairs = self._pairs("templates")
        return tuple(pair for pair in pairs if is_release("@".join(pair)) and self._is_ours(self._template(*pair)))

    def template_presence(self, template: Name, head: TransactionId) -> Presence:
        """PRESENT once finished, PARTIAL between begin and finish."""
        return self._presence(self._template(template, head))

    def template_path(self, template: Name, head: TransactionId) -> str:
        """The directory that is the root of the template."""
        return f"{self._home}/templates/{template}/{head}/root"

    def begin_template(self, template: Name, head: TransactionId, base: TransactionId | None) -> None:
        """A writable head, empty or as ``base`` is now. One half made is made anew; a finished one is refused."""
        thing = self._template(template, head)
        if self._presence(thing) is Presence.PRESENT:
            raise DriverError(f"cannot begin head {head} of template {template}: it is finished already")
        if base is None:
            self._begin(thing)
            self._host.run(["btrfs", "subvolume", "create", thing.root])
            self._host.sync(thing.place)
            return
        origin = self._template(template, base)
        if self._presence(origin) is not Presence.PRESENT:
            raise DriverError(f"cannot copy template {template}: its head {base} is not there or not finished")
        self._begin(thing)
        self._host.run(["btrfs", "subvolume", "snapshot", origin.root, thing.root])
        self._host.sync(thing.place)

    def finish_template(self, template: Name, head: TransactionId) -> None:
        """Make the head durable and mark it finished. Raises DriverError if it holds subvolumes with content."""
        thing = self._template(template, head)
        if self._presence(thing) is Presence.PARTIAL:
            flatten_subvolume(self._host, thing.root)
            self._finish(thing)
        self._require(thing)

    def destroy_template(self, template: Name, head: TransactionId) -> None:
        """Destroy a head that is ours."""
        self._destroy(self._template(template, head))

    # Releases

    def releases(self) -> tuple[ReleaseName, ...]:
        """Every release in the pool that is ours."""
        names = self._host.entries(f"{self._laid_out()}/releases")
        return tuple(name for name in names if is_release(name) and self._is_ours(self._release(name)))

    def release_presence(self, release: ReleaseName) -> Presence:
        """PRESENT when the release is there and immutable, PARTIAL when it is there but can be written."""
        return self._immutable_presence(self._release(release))

    def take_release(self, release: ReleaseName, head: TransactionId) -> None:
        """Take an immutable snapshot of the head of its template."""
        thing, origin = self._release(release), self._template(template_of(release), head)
        if self.release_presence(release) is Presence.PRESENT:
            return
        self._require(origin)
        self._begin(thing)
        self._host.run(["btrfs", "subvolume", "snapshot", "-r", origin.root, thing.root])
        self._finish(thing)

    def destroy_release(self, release: ReleaseName) -> None:
        """Destroy a release that is ours and nowhere mounted."""
        self._destroy(self._release(release))

    def fingerprint(self, release: ReleaseName) -> str:
        """Which subvolume the release is, and in which transaction of Btrfs its content last changed."""
        found = subvolume(self._host, self._release(release).root)
        if found is None:
            raise DriverError(f"cannot take the fingerprint of release {release}: it is not there")
        return f"btrfs:{found.uuid}:{found.changed}"

    def retired_presence(self, release: ReleaseName, by: TransactionId) -> Presence:
        """Whether the release is out of use, kept in the trash of the transaction ``by``."""
        if self.release_presence(release) is not Presence.ABSENT:
            return Presence.ABSENT
        return self._immutable_presence(self._retired(release, by))

    def retire_release(self, release: ReleaseName, by: TransactionId) -> None:
        """Put a release that is nowhere mounted into the trash of a transaction."""
        self._move(self._release(release), self._retired(release, by))

    def restore_release(self, release: ReleaseName, by: TransactionId) -> None:
        """Take the release out of the trash again."""
        self._move(self._retired(release, by), self._release(release))

    def trash(self) -> tuple[TransactionId, ...]:
        """The transactions that have something in the trash."""
        return tuple(dict.fromkeys(by for by, _ in self._pairs("trash")))

    def empty_trash(self, by: TransactionId) -> None:
        """Destroy what the transaction put into the trash."""
        for name in self._host.entries(f"{self._laid_out()}/trash/{by}"):
            self._destroy(self._retired(name, by))

    def root_source(self, release: ReleaseName) -> Source:
        """What to mount, read-only, as the root of a jail on this release."""
        return Source("bind", f"{self._home}/releases/{release}/root")

    # Volumes

    def volumes(self, jail: Name) -> tuple[Name, ...]:
        """The volumes of a jail that are there and ours."""
        names = self._host.entries(f"{self._laid_out()}/volumes/{jail}")
        return tuple(name for name in names if is_name(name) and self._is_ours(self._volume(jail, name)))

    def volume_presence(self, jail: Name, volume: Name) -> Presence:
        """PRESENT once filled, PARTIAL before."""
        return self._presence(self._volume(jail, volume))

    def volume_path(self, jail: Name, volume: Name) -> str:
        """The directory that is the root of the volume."""
        return f"{self._home}/volumes/{jail}/{volume}/root"

    def create_volume(self, jail: Name, volume: Volume, release: ReleaseName) -> None:
        """Create a volume and fill it with what the release has in that directory, owners and modes as there.

        Raises DriverError, before anything is made, when the release has no such directory, when a symlink leads
        there, or when there are device files in it: none belongs among data, and none is made on a template's word.
        """
        thing = self._volume(jail, volume.name)
        if self._presence(thing) is Presence.PRESENT:
            return
        release_root = self._release(release).root
        sentence = f"cannot fill volume {volume.name} of {jail} with {volume.path} of {release}"
        remedy = f"make {volume.path} a directory in the template, then upgrade that"
        try:
            origin = self._host.resolve_beneath(release_root, volume.path)
        except DriverError as error:
            raise DriverError(f"{sentence}: {error.message}", remedy=remedy) from error
        found = self._host.stat(origin)
        if found is None or not found.is_directory:
            raise DriverError(f"{sentence}: that is not a directory", remedy=remedy)
        device = self._host.run(
            ["find", origin, "-xdev", "(", "-type", "b", "-o", "-type", "c", ")", "-print", "-quit"]
        )
        if device.stdout:
            inside = device.stdout.strip().removeprefix(release_root)
            raise DriverError(f"{sentence}: {inside} is a device file", remedy="remove it from the template")
        self._begin(thing)
        self._host.run(["btrfs", "subvolume", "create", thing.root])
        copy = ["cp", "-a", "--reflink=auto", "--one-file-system", "-T", "--", origin, thing.root]
        self._host.run(copy, timeout_s=_COPY_TIMEOUT_S)
        self._finish(thing)

    def destroy_volume(self, jail: Name, volume: Name) -> None:
        """Destroy a volume that is ours and nowhere mounted."""
        self._destroy(self._volume(jail, volume))

    # Data snapshots

    def snapshots(self, jail: Name) -> tuple[DataSnapshot, ...]:
        """The data snapshots of a jail, kept or unwound."""
        home = f"{self._laid_out()}/snapshots/{jail}"
        found = ((name, tuple(self._host.entries(f"{home}/{name}"))) for name in self._host.entries(home))
        return tuple(
            DataSnapshot(jail, name.removesuffix(_UNWOUND), volumes, name.endswith(_UNWOUND), f"{home}/{name}")
            for name, volumes in found
            if volumes
        )

    def snapshot_presence(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> Presence:
        """PRESENT when every volume has its read-only snapshot; no process is started to find out."""
        home = f"{self._laid_out()}/snapshots/{jail}/{snapshot}"
        there = [volume for volume in volumes if self._host.stat(f"{home}/{volume}") is not None]
        for volume in there:
            found = subvolume(self._host, f"{home}/{volume}")
            if found is None or not found.read_only:
                return Presence.FOREIGN
        if len(there) == len(volumes):
            return Presence.PRESENT
        return Presence.PARTIAL if self._host.stat(home) is not None else Presence.ABSENT

    def snapshot_volumes(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Keep the volumes of a stopped jail as they are at this moment; no process is started for it."""
        presence = self.snapshot_presence(jail, volumes, snapshot)
        if presence is Presence.PRESENT:
            return
        if presence is not Presence.ABSENT:
            self.set_snapshot_aside(jail, volumes, snapshot)
        home = f"{self._home}/snapshots/{jail}/{snapshot}"
        self._host.make_directory(home, 0o700)
        for volume in volumes:
            origin = self.volume_path(jail, volume)
            self._host.snapshot_subvolume(origin, home, volume)
        self._host.sync(home)

    def set_snapshot_aside(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Undo ``snapshot_volumes``: a complete snapshot is kept, marked unwound; an incomplete one is destroyed."""
        presence = self.snapshot_presence(jail, volumes, snapshot)
        home = f"{self._home}/snapshots/{jail}/{snapshot}"
        if presence is Presence.FOREIGN:
            raise Foreign(f"cannot set snapshot {snapshot} of {jail} aside: what is in {home} is not ours")
        if self._host.stat(home) is None:
            return
        if presence is Presence.PRESENT:
            self._host.rename(home, f"{home}{_UNWOUND}")
        else:
            for volume in volumes:
                if self._host.stat(f"{home}/{volume}") is not None:
                    delete_subvolume(self._host, f"{home}/{volume}")
            self._host.remove(home)
        self._host.sync(self._home)

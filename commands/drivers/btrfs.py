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

from commands.drivers.base import PoolSpec, Presence, Source, Stat
from commands.drivers.btrfs_pool import BtrfsPool
from commands.drivers.btrfs_subvolumes import (
    SUBVOLUME_INODE,
    BtrfsHost,
    delete_subvolume,
    flatten_subvolume,
    subvolume,
)
from commands.drivers.marked import MarkedStorage
from commands.drivers.objects import Thing
from commands.errors import DriverError
from ledger.names import Name, ReleaseName, TransactionId


class BtrfsStorage(BtrfsPool, MarkedStorage):
    """The Storage on a Btrfs pool. Raises DriverError for everything but the pool itself while that is not mounted."""

    def __init__(self, host: BtrfsHost, pool: PoolSpec) -> None:
        super().__init__(host, pool)
        self._btrfs = host

    # Roots

    def _is_root(self, found: Stat) -> bool:
        return found.is_directory and found.inode == SUBVOLUME_INODE

    def _new_root(self, root: str) -> None:
        self._host.run(["btrfs", "subvolume", "create", root])

    def _copy_root(self, origin: str, root: str, *, immutable: bool) -> None:
        self._host.run(["btrfs", "subvolume", "snapshot", *(["-r"] if immutable else []), origin, root])

    def _delete_root(self, thing: Thing) -> None:
        if self._host.stat(thing.root) is not None:
            delete_subvolume(self._btrfs, thing.root)

    def _complete(self, thing: Thing) -> None:
        """Raises DriverError if the template holds subvolumes with content."""
        flatten_subvolume(self._btrfs, thing.root)

    def _immutable_presence(self, thing: Thing) -> Presence:
        presence = self._presence(thing)
        if presence is not Presence.PRESENT:
            return presence
        found = subvolume(self._btrfs, thing.root)
        return Presence.PRESENT if found is not None and found.read_only else Presence.PARTIAL

    # Releases

    def fingerprint(self, release: ReleaseName) -> str:
        """Which subvolume the release is, and in which transaction of Btrfs its content last changed."""
        found = subvolume(self._btrfs, self._release(release).root)
        if found is None:
            raise DriverError(f"cannot take the fingerprint of release {release}: it is not there")
        return f"btrfs:{found.uuid}:{found.changed}"

    def root_source(self, release: ReleaseName) -> Source:
        """What to mount, read-only, as the root of a jail on this release."""
        return Source("bind", f"{self._home}/releases/{release}/root")

    # Data snapshots

    def snapshot_presence(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> Presence:
        """PRESENT when every volume has its read-only snapshot; no process is started to find out."""
        home = f"{self._laid_out()}/snapshots/{jail}/{snapshot}"
        there = [volume for volume in volumes if self._host.stat(f"{home}/{volume}") is not None]
        for volume in there:
            found = subvolume(self._btrfs, f"{home}/{volume}")
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
            self._btrfs.snapshot_subvolume(origin, home, volume)
        self._host.sync(home)

    def _destroy_snapshot(self, jail: Name, volume: Name, snapshot: TransactionId) -> None:
        place = f"{self._home}/snapshots/{jail}/{snapshot}/{volume}"
        if self._host.stat(place) is not None:
            delete_subvolume(self._btrfs, place)

"""Storage in plain directories, for hosts without Btrfs, ZFS or LVM: a template, a release, a volume is a directory.

Beneath ``POOL/rootswap``::

    templates/NAME/HEAD/{mark,root}
    releases/NAME@ID/{mark,root}
    volumes/JAIL/VOLUME/{mark,root}
    snapshots/JAIL/TX/VOLUME/{mark,root}     TX+unwound once set aside
    trash/TX/NAME@ID/{mark,root}             retired releases

Every snapshot is a copy: its blocks are shared where the file system can do that (XFS with reflink, Btrfs), else they
are written once more, and for the data of a jail that time is downtime. Nothing is ever hard-linked: a file that is
written in place in a template would change in its releases as well.

A directory cannot be made immutable. A release is mounted read-only, lies where only root can enter, and its
fingerprint tells any change that was made in spite of that.
"""

from collections.abc import Sequence

from commands.drivers.base import PoolSpec, Presence, Source, Space, Stat
from commands.drivers.layout import foreign_pool
from commands.drivers.marked import MarkedStorage
from commands.drivers.marks import write_mark
from commands.drivers.objects import Thing, foreign_snapshot
from commands.drivers.trees import TreeHost, copy_tree, delete_tree
from commands.errors import DriverError
from ledger.names import Name, ReleaseName, TransactionId


class DirectoryStorage(MarkedStorage):
    """The Storage in a directory of the administrator's. Raises DriverError while the pool is not there."""

    def __init__(self, host: TreeHost, pool: PoolSpec) -> None:
        super().__init__(host, pool)
        self._trees = host

    # Pool

    def pool_presence(self, pool: PoolSpec) -> Presence:
        """Whether the pool is laid out and ours; FOREIGN if a symlink leads to it or something else is in its place."""
        found = self._host.stat(pool.path)
        if found is None:
            return Presence.ABSENT
        return self._layout_presence(pool) if self._is_real(pool) else Presence.FOREIGN

    def _is_real(self, pool: PoolSpec) -> bool:
        """Whether the path of the pool is a directory and no symlink leads there."""
        try:
            found = self._host.stat(self._host.resolve_beneath("/", pool.path))
        except DriverError:
            return False
        return found is not None and found.is_directory

    def _make_ground(self, pool: PoolSpec) -> None:
        self._host.make_directory(pool.path, 0o700)
        self._host.resolve_beneath("/", pool.path)

    def _seal_ground(self, pool: PoolSpec) -> None:
        """Nothing to do: what the directories lie on is not ours."""

    def destroy_pool(self, pool: PoolSpec) -> None:
        """Undo ``create_pool``; refuses a pool that holds anything. The directory that was given stays."""
        match self.pool_presence(pool):
            case Presence.ABSENT:
                return
            case Presence.FOREIGN:
                raise foreign_pool("remove", pool)
            case Presence.PRESENT | Presence.PARTIAL:
                self._require_empty(pool)
                self._remove_layout(pool)

    def pool_mounted(self, pool: PoolSpec) -> Presence:
        """Whether the directories are there. What they lie on is the administrator's to mount."""
        presence = self.pool_presence(pool)
        return Presence.ABSENT if presence is Presence.PARTIAL else presence

    def mount_pool(self, pool: PoolSpec) -> None:
        """Nothing to do; raises DriverError when the pool is not there, as before its file system is mounted."""
        match self.pool_mounted(pool):
            case Presence.PRESENT:
                return
            case Presence.FOREIGN:
                raise foreign_pool("use", pool)
            case _:
                remedy = "mount the file system that it is on, and run `rootswap recover`"
                raise DriverError(f"cannot use the pool at {pool.path}: it is not there", remedy=remedy)

    def unmount_pool(self, pool: PoolSpec) -> None:
        """Nothing to do: nothing was mounted."""

    def space(self) -> Space:
        """Room left on the file system of the pool, which keeps no account of its metadata that could be asked for."""
        home = self._laid_out()
        return Space(self._host.free_bytes(home), None, self._trees.size_bytes(home))

    # Roots

    def _is_root(self, found: Stat) -> bool:
        return found.is_directory

    def _new_root(self, root: str) -> None:
        self._host.make_directory(root, 0o755)

    def _copy_root(self, origin: str, root: str, *, immutable: bool) -> None:
        copy_tree(self._host, origin, root)

    def _delete_root(self, thing: Thing) -> None:
        """File by file, under another name: half a root must not pass for a whole one; a full disk takes no mark."""
        doomed = f"{thing.place}/doomed"
        if self._host.stat(doomed) is not None:
            delete_tree(self._host, doomed)
        if self._host.stat(thing.root) is not None:
            self._host.rename(thing.root, doomed)
            delete_tree(self._host, doomed)
        self._host.sync(thing.place)

    # Releases

    def fingerprint(self, release: ReleaseName) -> str:
        """A digest of what the file system tells of each file in the release; no file is read.

        Any change through the file system moves the change time of an inode, which nobody can set, not even root, but
        by setting the clock of the machine. A change on the disk beneath the file system is not noticed.
        """
        root = self._release(release).root
        if self._host.stat(root) is None:
            raise DriverError(f"cannot take the fingerprint of release {release}: it is not there")
        return f"directory:{self._trees.tree_digest(root)}"

    def root_source(self, release: ReleaseName) -> Source:
        """What to mount, read-only, as the root of a jail on this release."""
        return Source("bind", f"{self._home}/releases/{release}/root")

    # Data snapshots

    def snapshot_presence(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> Presence:
        """PRESENT when every volume has its finished copy."""
        there = [self._presence(self._copy(jail, snapshot, volume)) for volume in volumes]
        if Presence.FOREIGN in there:
            return Presence.FOREIGN
        if all(presence is Presence.PRESENT for presence in there):
            return Presence.PRESENT
        home = f"{self._home}/snapshots/{jail}/{snapshot}"
        return Presence.ABSENT if self._host.stat(home) is None else Presence.PARTIAL

    def snapshot_volumes(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Copy the volumes of a stopped jail. The file system is synced once, and the marks turn after that."""
        match self.snapshot_presence(jail, volumes, snapshot):
            case Presence.PRESENT:
                return
            case Presence.FOREIGN:
                raise foreign_snapshot("take", jail, snapshot)
            case Presence.ABSENT | Presence.PARTIAL:
                pass
        for volume in volumes:
            self._require(self._volume(jail, volume))
        for volume in volumes:
            copy = self._copy(jail, snapshot, volume)
            self._destroy(copy)
            self._make_copy(copy, self._volume(jail, volume), immutable=True)
        self._host.sync(self._home)
        for volume in volumes:
            copy = self._copy(jail, snapshot, volume)
            write_mark(self._host, copy.mark, copy.marks, "built")

    def _destroy_snapshot(self, jail: Name, volume: Name, snapshot: TransactionId) -> None:
        self._destroy(self._copy(jail, snapshot, volume))

    def _copy(self, jail: Name, snapshot: TransactionId, volume: Name) -> Thing:
        return self._thing(f"snapshots/{jail}/{snapshot}/{volume}")

"""Things with a mark beside them, in the directories of a pool: how they are begun, found, moved and destroyed."""

import os
from abc import abstractmethod
from collections.abc import Sequence

from commands.drivers.base import DataSnapshot, Presence, Stat
from commands.drivers.layout import PoolLayout
from commands.drivers.marks import read_mark, write_mark
from commands.drivers.mounts import mounted, mounts_of
from commands.drivers.objects import UNWOUND, Thing, foreign_snapshot
from commands.errors import DriverError, Foreign
from ledger.names import Name, TransactionId


class MarkedStorage(PoolLayout):
    """Templates, releases and volumes, each a directory ``root`` with a ``mark`` beside it.

    A ``root`` without our mark, or that is not what the driver makes, is FOREIGN. What is read-only is not renamed
    itself: the directory that it is in is, and that is how a release gets into the trash and back.
    """

    # What each driver has its own way of

    @abstractmethod
    def _is_root(self, found: Stat) -> bool:
        """Whether this is what the driver makes for a root."""

    @abstractmethod
    def _new_root(self, root: str) -> None:
        """Make an empty root."""

    @abstractmethod
    def _copy_root(self, origin: str, root: str, *, immutable: bool) -> None:
        """Make a root with the content of another."""

    @abstractmethod
    def _delete_root(self, thing: Thing) -> None:
        """Delete the root of a thing that is ours and nowhere mounted, or what is left of it, without needing space.

        What is left if that is killed is PARTIAL.
        """

    # Things

    def _presence(self, thing: Thing) -> Presence:
        place = self._host.stat(thing.place)
        if place is None:
            return Presence.ABSENT
        if not place.is_directory or self._leads_elsewhere(thing):
            return Presence.FOREIGN
        mark = read_mark(self._host, thing.mark, thing.marks)
        if mark == "none" and set(self._host.entries(thing.place)) <= {".mark.new"}:
            return Presence.PARTIAL
        if mark not in ("building", "built"):
            return Presence.FOREIGN
        root = self._host.stat(thing.root)
        if root is None:
            return Presence.PARTIAL
        if not self._is_root(root):
            return Presence.FOREIGN
        return Presence.PRESENT if mark == "built" else Presence.PARTIAL

    def _immutable_presence(self, thing: Thing) -> Presence:
        return self._presence(thing)

    def _leads_elsewhere(self, thing: Thing) -> bool:
        """Whether a symlink lies on the way to the place of a thing: what it leads to is not in the pool."""
        try:
            self._host.resolve_beneath(self._home, thing.place.removeprefix(self._home))
        except DriverError:
            return True
        return False

    def _make(self, thing: Thing, size_bytes: int | None = None) -> None:
        self._begin(thing)
        self._new_root(thing.root)

    def _make_copy(self, thing: Thing, origin: Thing, *, immutable: bool) -> None:
        self._begin(thing)
        self._copy_root(origin.root, thing.root, immutable=immutable)

    def _begin(self, thing: Thing) -> None:
        """Mark the place of a thing before it is made."""
        self._host.make_directory(thing.place, 0o700)
        write_mark(self._host, thing.mark, thing.marks, "building")

    def _finish(self, thing: Thing) -> None:
        self._host.sync(thing.place)
        write_mark(self._host, thing.mark, thing.marks, "built")

    def _destroy(self, thing: Thing) -> None:
        """Destroy a thing that is ours and nowhere mounted, its mark last."""
        presence = self._presence(thing)
        if presence is Presence.ABSENT:
            return
        if presence is Presence.FOREIGN:
            raise Foreign(f"cannot destroy {thing.place}: it is not ours", remedy="move it away yourself")
        if self._host.stat(thing.root) is not None:
            self._refuse_mounted("destroy", thing)
        self._delete_root(thing)
        self._host.remove(f"{thing.place}/.mark.new")
        self._host.remove(thing.mark)
        self._host.remove(thing.place)
        self._tidy(thing)

    def _move(self, old: Thing, new: Thing) -> None:
        if self._presence(old) is Presence.ABSENT and self._presence(new) is Presence.PRESENT:
            return
        self._require(old)
        self._refuse_mounted("move", old)
        self._host.make_directory(os.path.dirname(new.place), 0o700)
        self._host.rename(old.place, new.place)
        self._tidy(old)
        self._host.sync(self._home)

    def _tidy(self, gone: Thing) -> None:
        """Remove the directory that a thing was in, if that is one for each name and empty now."""
        directory = os.path.dirname(gone.place)
        if os.path.dirname(directory) != self._home and not self._host.entries(directory):
            self._host.remove(directory)

    def _refuse_mounted(self, verb: str, thing: Thing) -> None:
        """A directory or subvolume that is bound somewhere can be deleted, from under the jail that runs on it."""
        found = mounts_of(mounted(self._host), thing.root)
        if found:
            raise DriverError(f"cannot {verb} {thing.marks}: it is mounted at {found[0].path}")

    # Data snapshots

    def snapshots(self, jail: Name) -> tuple[DataSnapshot, ...]:
        """The data snapshots of a jail, kept or unwound."""
        home = f"{self._laid_out()}/snapshots/{jail}"
        found = ((name, self._host.entries(f"{home}/{name}")) for name in self._host.entries(home))
        return tuple(
            DataSnapshot(jail, name.removesuffix(UNWOUND), volumes, name.endswith(UNWOUND), f"{home}/{name}")
            for name, volumes in found
            if volumes
        )

    def set_snapshot_aside(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Undo ``snapshot_volumes``: a complete snapshot is kept, marked unwound; an incomplete one is destroyed."""
        presence = self.snapshot_presence(jail, volumes, snapshot)
        home = f"{self._home}/snapshots/{jail}/{snapshot}"
        if presence is Presence.FOREIGN:
            raise foreign_snapshot("set aside", jail, snapshot)
        if self._host.stat(home) is None:
            return
        if presence is Presence.PRESENT:
            self._host.rename(home, f"{home}{UNWOUND}")
        else:
            for volume in volumes:
                self._destroy_snapshot(jail, volume, snapshot)
            self._host.remove(home)
        self._host.sync(self._home)

    @abstractmethod
    def snapshot_presence(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> Presence:
        """PRESENT when every volume has its snapshot, whole and immutable."""

    @abstractmethod
    def _destroy_snapshot(self, jail: Name, volume: Name, snapshot: TransactionId) -> None:
        """Destroy the snapshot of one volume; not there is success."""

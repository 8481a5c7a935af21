"""The marked subvolumes in a Btrfs pool: how they are begun, finished, found, moved and destroyed."""

import os
from dataclasses import dataclass

from commands.drivers.base import Presence
from commands.drivers.btrfs_pool import BtrfsPool
from commands.drivers.btrfs_subvolumes import SUBVOLUME_INODE, delete_subvolume, subvolume
from commands.drivers.marks import read_mark, write_mark
from commands.drivers.mounts import mounted, topmost
from commands.errors import DriverError, Foreign
from ledger.names import Name, ReleaseName, TransactionId


@dataclass(frozen=True, slots=True)
class Thing:
    """A marked subvolume: the directory that it is in with its mark, and what the mark has to say."""

    place: str
    marks: str

    @property
    def root(self) -> str:
        """The subvolume."""
        return f"{self.place}/root"

    @property
    def mark(self) -> str:
        """The file that says it is ours."""
        return f"{self.place}/mark"


class BtrfsObjects(BtrfsPool):
    """Templates, releases and volumes, which are all kept alike."""

    def _template(self, template: Name, head: TransactionId) -> Thing:
        return self._thing(f"templates/{template}/{head}")

    def _release(self, release: ReleaseName) -> Thing:
        return self._thing(f"releases/{release}")

    def _volume(self, jail: Name, volume: Name) -> Thing:
        return self._thing(f"volumes/{jail}/{volume}")

    def _retired(self, release: ReleaseName, by: TransactionId) -> Thing:
        """A release in the trash; its mark still says where it came from."""
        return Thing(f"{self._laid_out()}/trash/{by}/{release}", f"releases/{release}")

    def _thing(self, marks: str) -> Thing:
        return Thing(f"{self._laid_out()}/{marks}", marks)

    def _pairs(self, kind: str) -> list[tuple[str, str]]:
        """The names in a directory of directories."""
        home = f"{self._laid_out()}/{kind}"
        return [(outer, inner) for outer in self._host.entries(home) for inner in self._host.entries(f"{home}/{outer}")]

    def _presence(self, thing: Thing) -> Presence:
        place = self._host.stat(thing.place)
        if place is None:
            return Presence.ABSENT
        mark = read_mark(self._host, thing.mark, thing.marks)
        if mark == "none" and place.is_directory and set(self._host.entries(thing.place)) <= {".mark.new"}:
            return Presence.PARTIAL
        if mark not in ("building", "built"):
            return Presence.FOREIGN
        root = self._host.stat(thing.root)
        if root is None:
            return Presence.PARTIAL
        if not root.is_directory or root.inode != SUBVOLUME_INODE:
            return Presence.FOREIGN
        return Presence.PRESENT if mark == "built" else Presence.PARTIAL

    def _immutable_presence(self, thing: Thing) -> Presence:
        """The presence of what has to be read-only: PARTIAL if it can be written."""
        presence = self._presence(thing)
        if presence is not Presence.PRESENT:
            return presence
        found = subvolume(self._host, thing.root)
        return Presence.PRESENT if found is not None and found.read_only else Presence.PARTIAL

    def _is_ours(self, thing: Thing) -> bool:
        return self._presence(thing) in (Presence.PRESENT, Presence.PARTIAL)

    def _require(self, thing: Thing) -> None:
        presence = self._presence(thing)
        if presence is not Presence.PRESENT:
            raise DriverError(f"cannot use {thing.marks}: it is {presence}")

    def _begin(self, thing: Thing) -> None:
        """Mark the place of a thing before it is made, after removing what an interrupted attempt left."""
        self._destroy(thing)
        self._host.make_directory(thing.place, 0o700)
        write_mark(self._host, thing.mark, thing.marks, "building")

    def _finish(self, thing: Thing) -> None:
        """Make the content of a thing durable, then say in its mark that it is whole."""
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
            delete_subvolume(self._host, thing.root)
        self._host.remove(f"{thing.place}/.mark.new")
        self._host.remove(thing.mark)
        self._host.remove(thing.place)
        self._tidy(thing)

    def _move(self, old: Thing, new: Thing) -> None:
        """Move a thing that is nowhere mounted; moved already is success."""
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
        """Btrfs lets one delete a subvolume that is bound somewhere, from under the jail that runs on it."""
        table = mounted(self._host)
        pool = topmost(table, self._pool.path)
        if pool is None:
            raise DriverError(f"cannot {verb} {thing.place}: the pool is not mounted")
        inside = pool.root.rstrip("/") + thing.root.removeprefix(self._pool.path)
        for mount in table:
            if mount.device == pool.device and f"{mount.root}/".startswith(f"{inside}/"):
                raise DriverError(f"cannot {verb} {thing.marks}: it is mounted at {mount.path}")

"""The directories of a pool on a file system, and the mark that says that they are ours.

``.rootswap-pool`` says ``building`` until they are all there.
"""

from abc import abstractmethod

from commands.drivers.base import PoolSpec, Presence
from commands.drivers.marks import read_mark, write_mark
from commands.drivers.objects import HOME, ObjectStorage
from commands.errors import DriverError, Foreign

KINDS = ("templates", "releases", "volumes", "snapshots", "trash")
MARK = ".rootswap-pool"


class PoolLayout(ObjectStorage):
    """``POOL/rootswap`` with a directory for each kind of thing, open to root alone."""

    def _laid_out(self) -> str:
        """The home, having made sure that the pool is mounted: the directory beneath must not be taken for it."""
        if self._host.stat(f"{self._home}/{MARK}") is None:
            remedy = "mount it, or create it with `rootswap init`"
            raise DriverError(f"cannot use the pool at {self._pool.path}: it is not mounted or not ours", remedy=remedy)
        return self._home

    def _names(self, directory: str) -> tuple[str, ...]:
        return self._host.entries(f"{self._laid_out()}/{directory}")

    def _layout_presence(self, pool: PoolSpec) -> Presence:
        """Whether the directories are laid out; ABSENT or PARTIAL is the caller's to tell apart where there is none."""
        home = f"{pool.path}/{HOME}"
        match read_mark(self._host, f"{home}/{MARK}", "pool"):
            case "built":
                return Presence.PRESENT
            case "building":
                return Presence.PARTIAL
            case "foreign":
                return Presence.FOREIGN
            case "none" if self._host.stat(home) is None:
                return Presence.PARTIAL if pool.image is not None else Presence.ABSENT
            case "none":
                begun = set(self._host.entries(home)) <= {f".{MARK}.new"}
                return Presence.PARTIAL if begun else Presence.FOREIGN

    def create_pool(self, pool: PoolSpec) -> None:
        """Make what the pool is on where asked, and lay out the marked directory tree.

        Goes on where an interrupted creation stopped.
        """
        match self.pool_presence(pool):
            case Presence.PRESENT:
                return
            case Presence.FOREIGN:
                raise foreign_pool("create", pool)
            case Presence.ABSENT | Presence.PARTIAL:
                pass
        self._make_ground(pool)
        self._begin_layout(pool)
        self._seal_ground(pool)
        self._finish_layout(pool)

    @abstractmethod
    def pool_presence(self, pool: PoolSpec) -> Presence:
        """Whether the pool is laid out and ours."""

    @abstractmethod
    def _make_ground(self, pool: PoolSpec) -> None:
        """Make what the directories lie on, and mount it."""

    @abstractmethod
    def _seal_ground(self, pool: PoolSpec) -> None:
        """Note that what the directories lie on holds a pool from now on: it is never made anew."""

    def _begin_layout(self, pool: PoolSpec) -> None:
        """Make the directories, marked as not finished."""
        home = f"{pool.path}/{HOME}"
        self._host.make_directory(home, 0o700)
        write_mark(self._host, f"{home}/{MARK}", "pool", "building")
        for kind in KINDS:
            self._host.make_directory(f"{home}/{kind}", 0o700)
        self._host.sync(home)

    def _finish_layout(self, pool: PoolSpec) -> None:
        write_mark(self._host, f"{pool.path}/{HOME}/{MARK}", "pool", "built")

    def _require_empty(self, pool: PoolSpec) -> None:
        """Raise DriverError if the pool holds anything of ours."""
        home = f"{pool.path}/{HOME}"
        for kind in KINDS:
            for name in self._host.entries(f"{home}/{kind}"):
                if self._host.entries(f"{home}/{kind}/{name}") or kind in ("releases", "trash"):
                    raise DriverError(f"cannot remove the pool at {pool.path}: it holds {kind}/{name}")

    def _remove_layout(self, pool: PoolSpec) -> None:
        """Remove the directories of an empty pool, the mark last."""
        home = f"{pool.path}/{HOME}"
        if self._host.stat(home) is None:
            return
        write_mark(self._host, f"{home}/{MARK}", "pool", "building")
        for kind in KINDS:
            for name in self._host.entries(f"{home}/{kind}"):
                self._host.remove(f"{home}/{kind}/{name}")
            self._host.remove(f"{home}/{kind}")
        self._host.remove(f"{home}/{MARK}")
        self._host.remove(home)


def foreign_pool(verb: str, pool: PoolSpec) -> Foreign:
    """The refusal to touch a pool that is not ours."""
    remedy = f"look at what is at {pool.path}{f' and {pool.image}' if pool.image else ''}, and move it away yourself"
    return Foreign(f"cannot {verb} the pool at {pool.path}: something that is not ours is there", remedy=remedy)

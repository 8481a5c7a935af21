"""The pool of the ZFS driver: one data set of ours in a zpool of the administrator's, and the containers in it.

``DATASET`` is mounted at the pool's path, open to root alone; ``templates``, ``releases`` and ``volumes`` in it are
never mounted and hold what is. All of it is ``canmount=noauto`` or ``off``: nothing mounts itself at a boot, least of
all the half of an upgrade. The zpool itself is never made, imported, exported or destroyed.
"""

from collections.abc import Sequence
from typing import Protocol

from commands.drivers.base import Host, Mounts, PoolSpec, Presence, Source, Space
from commands.drivers.zfs_text import ASKED, MARKS, STATE, Seen, cause_of, other_complaints, parsed_get, parsed_values
from commands.errors import DriverError, Foreign

KINDS = ("templates", "releases", "volumes")
#: A change waits for a transaction group to reach the disk; on a busy pool of spinning disks that takes long.
CHANGE_TIMEOUT_S = 300.0
LOOK_TIMEOUT_S = 60.0
#: Read by zfs-auto-snapshot and its kin: templates and releases need no snapshots of somebody else's.
_NO_AUTO_SNAPSHOTS = "com.sun:auto-snapshot=false"


class ZfsMounts(Mounts, Protocol):
    """A mount table that also knows where a data set can be seen."""

    def places(self, source: Source) -> tuple[str, ...]:
        """Every path at which ``source``, or a directory of it, is mounted."""
        ...


class ZfsPool:
    """Where everything lies: a data set beneath a zpool that the administrator made."""

    def __init__(self, host: Host, mounts: ZfsMounts, pool: PoolSpec) -> None:
        self._host = host
        self._mounts = mounts
        self._pool = pool

    @property
    def _home(self) -> str:
        return _dataset_of(self._pool)

    # --- looking and changing ---

    def _look(self, names: Sequence[str], *options: str) -> dict[str, Seen]:
        """What there is of ``names``; what is not there is left out. Raises DriverError for any other complaint."""
        argv = ["zfs", "get", "-Hp", *options, "-o", "name,property,value,source", ASKED, *names]
        completed = self._host.run(argv, check=False, timeout_s=LOOK_TIMEOUT_S)
        if completed.status != 0:
            others = other_complaints(completed.stderr)
            if others or not completed.stderr.strip():
                cause = others[0] if others else f"zfs get ended with status {completed.status}"
                raise DriverError(f"cannot look at {', '.join(names)}: {cause}")
        return parsed_get(completed.stdout)

    def _look_in(self, kinds: Sequence[str], *options: str) -> dict[str, Seen]:
        """What there is in containers of ours. Raises DriverError when they are not there: nothing else can be told."""
        tops = [f"{self._home}/{kind}" for kind in kinds]
        found = self._look(tops, *options)
        self._require_there(found, tops[0])
        return found

    def _require_there(self, found: dict[str, Seen], container: str) -> None:
        if container not in found:
            self._require_healthy(self._pool)
            remedy = "create it with `rootswap init`"
            raise DriverError(f"cannot use the pool: there is no data set {container}", remedy=remedy)

    def _zfs(self, what: str, *argv: str) -> None:
        """One change by zfs, durable when it returns. Raises DriverError "cannot ``what``: cause"."""
        completed = self._host.run(["zfs", *argv], check=False, timeout_s=CHANGE_TIMEOUT_S)
        if completed.status != 0:
            cause, remedy = cause_of(completed.stderr)
            raise DriverError(f"cannot {what}: {cause}", remedy=remedy)

    def _require_healthy(self, pool: PoolSpec) -> None:
        """Raises DriverError when the zpool is missing, suspended or read-only, each with its remedy."""
        zpool = _dataset_of(pool).partition("/")[0]
        asked = ["zpool", "get", "-Hp", "-o", "property,value", "health,readonly", zpool]
        completed = self._host.run(asked, check=False, timeout_s=LOOK_TIMEOUT_S)
        if completed.status != 0:
            cause, _ = cause_of(completed.stderr)
            if "no such pool" in completed.stderr:
                cause = "it is not imported"
            raise DriverError(f"cannot use the pool {zpool}: {cause}", remedy=f"import it with `zpool import {zpool}`")
        values = parsed_values(completed.stdout)
        if values.get("health") == "SUSPENDED":
            remedy = f"bring its disks back, then run `zpool clear {zpool}`"
            raise DriverError(f"cannot use the pool {zpool}: its input and output are suspended", remedy=remedy)
        if values.get("health") in ("FAULTED", "UNAVAIL", "REMOVED"):
            health = values["health"].lower()
            raise DriverError(f"cannot use the pool {zpool}: it is {health}", remedy=f"see `zpool status {zpool}`")
        if values.get("readonly") == "on":
            remedy = f"import it read-write: `zpool export {zpool}`, then `zpool import {zpool}`"
            raise DriverError(f"cannot use the pool {zpool}: it is imported read-only", remedy=remedy)

    # --- the pool ---

    def pool_presence(self, pool: PoolSpec) -> Presence:
        """Whether the pool is laid out and ours; PARTIAL when its creation was interrupted or it is not mounted."""
        self._require_healthy(pool)
        home = _dataset_of(pool)
        found = self._look([home], "-r", "-t", "filesystem,volume")
        if home not in found:
            return Presence.FOREIGN if self._occupied(pool) else Presence.ABSENT
        if found[home].own(MARKS) != "pool":
            return Presence.FOREIGN
        if self._occupied(pool):
            return Presence.FOREIGN
        if found[home].own(STATE) != "built" or self._unmounted(found, pool):
            return Presence.PARTIAL
        return Presence.PRESENT

    def _occupied(self, pool: PoolSpec) -> bool:
        """Whether something that is not the data set is mounted at the pool's path, or over it."""
        layers = self._mounts.layers(pool.path)
        return layers > 1 or (layers == 1 and not self._mounts.holds(pool.path, Source("zfs", _dataset_of(pool))))

    def _unmounted(self, found: dict[str, Seen], pool: PoolSpec) -> list[str]:
        """What of ours is finished and not mounted, outermost first. What is half made is taken back, not mounted."""
        home = _dataset_of(pool)
        wanted = [name for name, one in found.items() if name == home or (one.own(MARKS) and one.own(STATE) == "built")]
        return [name for name in wanted if not found[name].is_mounted]

    def create_pool(self, pool: PoolSpec) -> None:
        """Make the data set with its containers, and mount it. Goes on where an interrupted creation stopped."""
        match self.pool_presence(pool):
            case Presence.PRESENT:
                return
            case Presence.FOREIGN:
                raise self._foreign("create", pool)
            case Presence.ABSENT | Presence.PARTIAL:
                pass
        home = _dataset_of(pool)
        found = self._look([home], "-r", "-t", "filesystem,volume")
        if home not in found:
            self._require_empty(pool)
            marks = ("-o", f"{MARKS}=pool", "-o", f"{STATE}=building")
            options = ("-o", f"mountpoint={pool.path}", "-o", "canmount=noauto", "-o", "atime=off")
            self._zfs(f"create data set {home}", "create", *marks, *options, home)
        for kind in KINDS:
            name = f"{home}/{kind}"
            if name in found and found[name].own(MARKS) != kind:
                raise self._foreign("create", pool)
            if name not in found:
                quiet = () if kind == "volumes" else ("-o", _NO_AUTO_SNAPSHOTS)
                options = ("-o", "canmount=off", "-o", f"{MARKS}={kind}", *quiet)
                self._zfs(f"create data set {name}", "create", *options, name)
        self.mount_pool(pool)
        self._host.run(["chmod", "0700", pool.path])
        self._host.sync(pool.path)
        if self._look([home])[home].own(STATE) != "built":
            self._zfs(f"finish data set {home}", "set", f"{STATE}=built", home)

    def destroy_pool(self, pool: PoolSpec) -> None:
        """Undo ``create_pool``; refuses a pool that holds anything. The zpool and the empty directory stay."""
        match self.pool_presence(pool):
            case Presence.ABSENT:
                return
            case Presence.FOREIGN:
                raise self._foreign("remove", pool)
            case Presence.PRESENT | Presence.PARTIAL:
                pass
        home = _dataset_of(pool)
        found = self._look([home], "-r", "-t", "filesystem,volume,snapshot")
        containers = [f"{home}/{kind}" for kind in KINDS if f"{home}/{kind}" in found]
        for name in found:
            if name != home and name not in containers:
                raise DriverError(f"cannot remove the pool at {pool.path}: it holds {name}")
        if found[home].is_mounted and self._host.entries(pool.path):
            stray = [name for name in self._host.entries(pool.path) if name not in (*KINDS, ".zfs")]
            if stray:
                raise DriverError(f"cannot remove the pool at {pool.path}: it holds {stray[0]}, which is not ours")
        for name in reversed(containers):
            self._zfs(f"destroy data set {name}", "destroy", name)
        self._zfs(f"destroy data set {home}", "destroy", home)

    def pool_mounted(self, pool: PoolSpec) -> Presence:
        """Whether everything of ours is mounted; FOREIGN when something else is mounted at the pool's path."""
        self._require_healthy(pool)
        home = _dataset_of(pool)
        if self._occupied(pool):
            return Presence.FOREIGN
        found = self._look([home], "-r", "-t", "filesystem,volume")
        if home not in found:
            return Presence.ABSENT
        if found[home].own(MARKS) != "pool":
            return Presence.FOREIGN
        return Presence.ABSENT if self._unmounted(found, pool) else Presence.PRESENT

    def mount_pool(self, pool: PoolSpec) -> None:
        """Mount the data set and all that is in it, outermost first; what is mounted already stays as it is."""
        self._require_healthy(pool)
        home = _dataset_of(pool)
        found = self._look([home], "-r", "-t", "filesystem,volume")
        if home not in found or found[home].own(MARKS) != "pool":
            remedy = "create it with `rootswap init`" if home not in found else "give it another `dataset`"
            raise Foreign(f"cannot mount the pool at {pool.path}: {home} is missing or not ours", remedy=remedy)
        if self._occupied(pool):
            raise self._foreign("mount", pool)
        for name in self._unmounted(found, pool):
            if name == home:
                self._require_empty(pool)
                self._host.make_directory(pool.path, 0o700)
                self._host.resolve_beneath("/", pool.path)
            self._mount(found[name], pool.path + name[len(home) :])

    def unmount_pool(self, pool: PoolSpec) -> None:
        """Unmount what is ours and not in use, innermost first. Jails keep what they run on, and all that it is in."""
        if self.pool_mounted(pool) is Presence.FOREIGN:
            raise self._foreign("unmount", pool)
        home, kept = _dataset_of(pool), False
        found = self._look([home], "-r", "-t", "filesystem")
        for name in sorted((name for name, one in found.items() if one.is_mounted and one.own(MARKS)), reverse=True):
            place = pool.path + name[len(home) :]
            kept_here = any(path != place for path in self._mounts.places(Source("zfs", name)))
            if not kept_here and not (kept and name == home):
                self._zfs(f"unmount {name}", "unmount", name)
            kept = kept or kept_here

    def _mount(self, one: Seen, place: str) -> None:
        """Mount a data set of ours where it belongs. Raises Foreign when that is occupied, and nothing is stacked."""
        if one.value("mountpoint") != place:
            remedy = f"set it back with `zfs inherit mountpoint {one.name}`"
            raise DriverError(f"cannot mount {one.name}: its mountpoint was changed from {place}", remedy=remedy)
        if self._mounts.layers(place):
            remedy = "look at it with `mount` and unmount it yourself"
            raise Foreign(f"cannot mount {one.name}: something is mounted at {place}", remedy=remedy)
        self._zfs(f"mount {one.name}", "mount", one.name)

    def _require_empty(self, pool: PoolSpec) -> None:
        if self._host.entries(pool.path):
            remedy = "move away what is in it, or choose another path in the [storage] table"
            raise DriverError(f"cannot mount the pool at {pool.path}: the directory is not empty", remedy=remedy)

    def space(self) -> Space:
        """What can still be written. ZFS withholds the last 1/32 of a zpool; ``available`` knows that, and quotas."""
        top = self._home.partition("/")[0]
        argv = ["zfs", "get", "-Hp", "-o", "name,property,value,source", "available,used", self._home, top]
        found = parsed_get(self._host.run(argv, timeout_s=LOOK_TIMEOUT_S).stdout)
        free, whole = found[self._home], found[top]
        size = int(whole.value("available") or 0) + int(whole.value("used") or 0)
        return Space(int(free.value("available") or 0), None, size)

    @staticmethod
    def _foreign(verb: str, pool: PoolSpec) -> Foreign:
        remedy = f"look at {_dataset_of(pool)} and at what is mounted at {pool.path}, and move it away yourself"
        return Foreign(f"cannot {verb} the pool at {pool.path}: something that is not ours is there", remedy=remedy)


def _dataset_of(pool: PoolSpec) -> str:
    if pool.dataset is None:
        raise DriverError("cannot use the pool: no data set is named", remedy="set `dataset` in the [storage] table")
    return pool.dataset

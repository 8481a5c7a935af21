"""Every driver in memory, on one small world: for tests, and for rehearsing a plan in ``--dry-run``.

The world is a flat dictionary. Each look and each primitive change of it passes a gate, at which a test can count, fail
or crash; a driver command that takes several primitive changes can therefore be caught half way, as on a real host.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from commands.drivers.base import (
    Completed,
    DataSnapshot,
    Drivers,
    HealthCheck,
    JailSpec,
    JailState,
    PoolSpec,
    Presence,
    Recipe,
    Source,
    Space,
    Volume,
)
from commands.errors import DriverError, Foreign
from ledger.clock import Clock, SystemClock
from ledger.names import Name, ReleaseName, TransactionId, template_of

_BUILDING = "building"
_FOREIGN = "foreign"


def _no_gate(_point: str) -> None:
    return


@dataclass
class MemoryWorld:
    """All there is: ``state`` maps a thing to its content. ``gate`` is called with "before …" and "after …" words."""

    state: dict[str, str] = field(default_factory=dict)
    gate: Callable[[str], None] = _no_gate
    unhealthy: set[str] = field(default_factory=set)
    clock: Clock = field(default_factory=SystemClock)
    cancelled: Callable[[], bool] = lambda: False
    drivers_of_jails: frozenset[str] = frozenset({"memory"})

    def drivers(self) -> Drivers:
        """Drivers on this world."""
        jails = MemoryJails(self)
        return Drivers(
            storage=MemoryStorage(self),
            mounts=MemoryMounts(self),
            jails=dict.fromkeys(self.drivers_of_jails, jails),
            health=MemoryHealth(self),
            builder=MemoryBuilder(self),
            clock=self.clock,
            cancelled=self.cancelled,
            inspect_root=self.inspect_root,
        )

    def look(self, key: str) -> str | None:
        """One look at the world."""
        self.gate(f"before looking at {key}")
        return self.state.get(key)

    def keys(self, prefix: str) -> list[str]:
        """One look at everything below a prefix, without the prefix."""
        self.gate(f"before listing {prefix}")
        return sorted(key.removeprefix(prefix) for key in self.state if key.startswith(prefix))

    def put(self, key: str, value: str) -> None:
        """One primitive change; what is foreign is never overwritten."""
        self.gate(f"before setting {key}")
        if self.state.get(key) == _FOREIGN:
            raise Foreign(f"cannot set {key}: it is not ours")
        self.state[key] = value
        self.gate(f"after setting {key}")

    def drop(self, key: str) -> None:
        """One primitive removal; already gone is success."""
        self.gate(f"before dropping {key}")
        if self.state.get(key) == _FOREIGN:
            raise Foreign(f"cannot drop {key}: it is not ours")
        self.state.pop(key, None)
        self.gate(f"after dropping {key}")

    def reboot(self) -> None:
        """Lose what a reboot loses: mounts and running jails."""
        for key in [key for key in self.state if key.startswith(("mount:", "jail:"))]:
            del self.state[key]

    def inspect_root(self, root: str, jail: JailSpec) -> None:
        """A staged root is as good as its release."""
        if self.look(f"mount:{root}") is None:
            raise DriverError(f"cannot inspect the next root of {jail.name}: nothing is mounted at {root}")


def _presence(content: str | None) -> Presence:
    match content:
        case None:
            return Presence.ABSENT
        case "foreign":
            return Presence.FOREIGN
        case "building":
            return Presence.PARTIAL
        case _:
            return Presence.PRESENT


class MemoryStorage:
    """Templates, releases and volumes as entries of the world."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world

    def pool_presence(self, pool: PoolSpec) -> Presence:
        """See Storage."""
        laid_out = _presence(self._world.look(f"pool:{pool.path}"))
        mounted = self.pool_mounted(pool)
        if laid_out is Presence.PRESENT and mounted is not Presence.PRESENT:
            return Presence.FOREIGN if mounted is Presence.FOREIGN else Presence.PARTIAL
        return laid_out

    def create_pool(self, pool: PoolSpec) -> None:
        """See Storage."""
        if self.pool_presence(pool) is not Presence.PRESENT:
            self._world.put(f"pool:{pool.path}", _BUILDING)
            self.mount_pool(pool)
            self._world.put(f"pool:{pool.path}", "laid out")

    def destroy_pool(self, pool: PoolSpec) -> None:
        """See Storage."""
        if any(self._world.keys(prefix) for prefix in ("template:", "release:", "volume:")):
            raise DriverError(f"cannot remove the pool at {pool.path}: it is not empty")
        self.unmount_pool(pool)
        self._world.drop(f"pool:{pool.path}")

    def pool_mounted(self, pool: PoolSpec) -> Presence:
        """See Storage."""
        return _presence(self._world.look(f"mount:{pool.path}"))

    def mount_pool(self, pool: PoolSpec) -> None:
        """See Storage."""
        self._world.put(f"mount:{pool.path}", "pool")

    def unmount_pool(self, pool: PoolSpec) -> None:
        """See Storage."""
        self._world.drop(f"mount:{pool.path}")

    def space(self) -> Space:
        """See Storage."""
        return Space(data_free_bytes=1 << 40, metadata_free_bytes=1 << 30, size_bytes=1 << 41)

    def templates(self) -> tuple[tuple[Name, TransactionId], ...]:
        """See Storage."""
        pairs = (key.split(":") for key in self._list("template:"))
        return tuple((template, head) for template, head in pairs)

    def template_presence(self, template: Name, head: TransactionId) -> Presence:
        """See Storage."""
        return _presence(self._see(f"template:{template}:{head}"))

    def template_path(self, template: Name, head: TransactionId) -> str:
        """See Storage."""
        return f"template:{template}:{head}"

    def begin_template(self, template: Name, head: TransactionId, base: TransactionId | None) -> None:
        """See Storage."""
        if self.template_presence(template, head) is Presence.PRESENT:
            raise DriverError(f"cannot begin head {head} of template {template}: it is finished already")
        if base is not None and self.template_presence(template, base) is not Presence.PRESENT:
            raise DriverError(f"cannot copy template {template}: its head {base} is not there")
        self._world.put(f"template:{template}:{head}", _BUILDING)

    def finish_template(self, template: Name, head: TransactionId) -> None:
        """See Storage."""
        self._world.put(f"template:{template}:{head}", f"root {head}")

    def destroy_template(self, template: Name, head: TransactionId) -> None:
        """See Storage."""
        self._world.drop(f"template:{template}:{head}")

    def releases(self) -> tuple[ReleaseName, ...]:
        """See Storage."""
        return tuple(self._list("release:"))

    def release_presence(self, release: ReleaseName) -> Presence:
        """See Storage."""
        return _presence(self._see(f"release:{release}"))

    def take_release(self, release: ReleaseName, head: TransactionId) -> None:
        """See Storage."""
        content = self._see(f"template:{template_of(release)}:{head}")
        if content is None:
            raise DriverError(f"cannot take release {release}: its template has no head {head}")
        self._world.put(f"release:{release}", content)

    def destroy_release(self, release: ReleaseName) -> None:
        """See Storage."""
        self._world.drop(f"release:{release}")

    def fingerprint(self, release: ReleaseName) -> str:
        """See Storage."""
        return f"memory:{self._see(f'release:{release}')}"

    def retired_presence(self, release: ReleaseName, by: TransactionId) -> Presence:
        """See Storage."""
        retired = _presence(self._see(f"trash:{by}:{release}"))
        return retired if self.release_presence(release) is Presence.ABSENT else Presence.ABSENT

    def retire_release(self, release: ReleaseName, by: TransactionId) -> None:
        """See Storage."""
        self._rename(f"release:{release}", f"trash:{by}:{release}")

    def restore_release(self, release: ReleaseName, by: TransactionId) -> None:
        """See Storage."""
        self._rename(f"trash:{by}:{release}", f"release:{release}")

    def trash(self) -> tuple[TransactionId, ...]:
        """See Storage."""
        return tuple(sorted({key.partition(":")[0] for key in self._list("trash:")}))

    def empty_trash(self, by: TransactionId) -> None:
        """See Storage."""
        for key in self._list(f"trash:{by}:"):
            self._world.drop(f"trash:{by}:{key}")

    def root_source(self, release: ReleaseName) -> Source:
        """See Storage."""
        return Source("memory", release)

    def volumes(self, jail: Name) -> tuple[Name, ...]:
        """See Storage."""
        return tuple(self._list(f"volume:{jail}:"))

    def volume_presence(self, jail: Name, volume: Name) -> Presence:
        """See Storage."""
        return _presence(self._see(f"volume:{jail}:{volume}"))

    def volume_path(self, jail: Name, volume: Name) -> str:
        """See Storage."""
        return f"/memory/volumes/{jail}/{volume}"

    def create_volume(self, jail: Name, volume: Volume, release: ReleaseName) -> None:
        """See Storage."""
        if self.volume_presence(jail, volume.name) is not Presence.PRESENT:
            self._world.put(f"volume:{jail}:{volume.name}", _BUILDING)
            self._world.put(f"volume:{jail}:{volume.name}", f"data from {release}")

    def destroy_volume(self, jail: Name, volume: Name) -> None:
        """See Storage."""
        self._world.drop(f"volume:{jail}:{volume}")

    def snapshots(self, jail: Name) -> tuple[DataSnapshot, ...]:
        """See Storage."""
        found: dict[str, list[Name]] = {}
        for key in self._list(f"snapshot:{jail}:"):
            label, _, volume = key.partition(":")
            found.setdefault(label, []).append(volume)
        return tuple(
            DataSnapshot(jail, label.removesuffix("+unwound"), tuple(volumes), label.endswith("+unwound"), label)
            for label, volumes in sorted(found.items())
        )

    def snapshot_presence(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> Presence:
        """See Storage."""
        there = [self._see(f"snapshot:{jail}:{snapshot}:{volume}") for volume in volumes]
        if _FOREIGN in there:
            return Presence.FOREIGN
        if None not in there:
            return Presence.PRESENT
        return Presence.PARTIAL if any(there) else Presence.ABSENT

    def snapshot_volumes(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """See Storage."""
        for volume in volumes:
            content = self._see(f"volume:{jail}:{volume}")
            if content is None:
                raise DriverError(f"cannot snapshot volume {volume} of {jail}: it is not there")
            self._world.put(f"snapshot:{jail}:{snapshot}:{volume}", content)

    def set_snapshot_aside(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """See Storage. The rename of a complete set is one primitive change, as it is one rename on a real host."""
        presence = self.snapshot_presence(jail, volumes, snapshot)
        if presence is Presence.FOREIGN:
            raise Foreign(f"cannot set snapshot {snapshot} of {jail} aside: it is not ours")
        if presence is not Presence.PRESENT:
            for volume in volumes:
                self._world.drop(f"snapshot:{jail}:{snapshot}:{volume}")
            return
        self._world.gate(f"before renaming snapshot:{jail}:{snapshot}")
        for volume in volumes:
            content = self._world.state.pop(f"snapshot:{jail}:{snapshot}:{volume}")
            self._world.state[f"snapshot:{jail}:{snapshot}+unwound:{volume}"] = content
        self._world.gate(f"after renaming snapshot:{jail}:{snapshot}")

    def _rename(self, old: str, new: str) -> None:
        content, there = self._see(old), self._see(new)
        if content is None:
            if there is None:
                raise DriverError(f"cannot rename {old}: it is not there")
            return
        if _FOREIGN in (content, there):
            raise Foreign(f"cannot rename {old}: it is not ours")
        self._world.gate(f"before renaming {old}")
        self._world.state[new] = self._world.state.pop(old)
        self._world.gate(f"after renaming {old}")

    def _see(self, key: str) -> str | None:
        self._require_pool()
        return self._world.look(key)

    def _list(self, prefix: str) -> list[str]:
        self._require_pool()
        return self._world.keys(prefix)

    def _require_pool(self) -> None:
        if "pool" not in self._world.state.values():
            raise DriverError("cannot use the pool: it is not mounted")


class MemoryMounts:
    """A mount table with at most one mount a path."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world

    def layers(self, path: str) -> int:
        """See Mounts."""
        return 0 if self._world.look(f"mount:{path}") is None else 1

    def holds(self, path: str, source: Source) -> bool:
        """See Mounts."""
        return self._world.look(f"mount:{path}") == source.what

    def mount(self, source: Source, path: str) -> None:
        """See Mounts."""
        there = self._world.look(f"mount:{path}")
        if there not in (None, source.what):
            raise Foreign(f"cannot mount {source.what} at {path}: {there} is mounted there")
        if self._world.look(f"release:{source.what}") is None:
            raise DriverError(f"cannot mount {source.what}: it is not there")
        self._world.put(f"mount:{path}", source.what)

    def unmount(self, path: str) -> None:
        """See Mounts."""
        self._world.drop(f"mount:{path}")

    def move(self, old: str, new: str) -> None:
        """See Mounts."""
        self._world.gate(f"before moving mount:{old}")
        if old not in self._mounted() and new in self._mounted():
            return
        if old not in self._mounted() or new in self._mounted():
            raise DriverError(f"cannot move the mount at {old} to {new}")
        self._world.state[f"mount:{new}"] = self._world.state.pop(f"mount:{old}")
        self._world.gate(f"after moving mount:{old}")

    def _mounted(self) -> set[str]:
        return {key.removeprefix("mount:") for key in self._world.state if key.startswith("mount:")}


class MemoryJails:
    """Jails that run on what is mounted at their root."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world

    def preflight(self, jail: JailSpec) -> None:
        """See Jails."""

    def state(self, jail: JailSpec) -> JailState:
        """See Jails."""
        match self._world.look(f"jail:{jail.name}"):
            case None:
                return JailState.STOPPED
            case "building":
                return JailState.STARTING
            case _:
                return JailState.RUNNING

    def runs_on(self, jail: JailSpec, source: Source) -> bool:
        """See Jails."""
        return self._world.look(f"jail:{jail.name}") == source.what

    def start(self, jail: JailSpec) -> None:
        """See Jails."""
        if self.state(jail) is JailState.RUNNING:
            return
        root = self._world.look(f"mount:{jail.root}")
        if root is None:
            raise DriverError(f"cannot start jail {jail.name}: nothing is mounted at {jail.root}")
        self._world.put(f"jail:{jail.name}", _BUILDING)
        self._world.put(f"jail:{jail.name}", root)

    def stop(self, jail: JailSpec) -> None:
        """See Jails."""
        self._world.drop(f"jail:{jail.name}")

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        """See Jails."""
        if self.state(jail) is not JailState.RUNNING:
            raise DriverError(f"cannot run {argv[0]} in jail {jail.name}: it does not run")
        return Completed(0, "", "")


class MemoryHealth:
    """A jail is well when it runs and its release is not among the unhealthy ones."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world

    def ask(self, check: HealthCheck, jail: JailSpec) -> str | None:
        """See Health."""
        root = self._world.look(f"jail:{jail.name}")
        if root is None or root == _BUILDING:
            return f"jail {jail.name} does not run"
        return f"release {root} is not well" if root in self._world.unhealthy else None


class MemoryBuilder:
    """Follows no recipe; the content of a template is its name."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world

    def preflight(self, recipe: Recipe) -> None:
        """See Builder."""

    def build(self, recipe: Recipe, root: str, cancelled: Callable[[], bool]) -> None:
        """See Builder."""
        self._world.gate(f"before building {root}")
        self._world.gate(f"after building {root}")

    def packages(self, root: str) -> dict[str, str]:
        """See Builder."""
        return {}

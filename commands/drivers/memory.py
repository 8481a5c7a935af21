"""Every driver in memory, on one small world: for tests, and for rehearsing a plan in ``--dry-run``.

The world is a flat dictionary. Each look and each primitive change of it passes a gate, at which a test can count, fail
or crash; a driver command that takes several primitive changes can therefore be caught half way, as on a real host.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from commands.drivers.base import Completed, Drivers, HealthCheck, Jails, JailSpec, JailState, Recipe, Source
from commands.drivers.memory_storage import MemoryStorage
from commands.drivers.memory_world import BUILDING, World
from commands.drivers.secret_files import Secrets
from commands.drivers.secret_jails import SecretJails
from commands.errors import DriverError, Foreign
from ledger.clock import Clock, SystemClock


@dataclass
class MemoryWorld(World):
    """A world with drivers on it. A jail on a release that is among the ``unhealthy`` ones never gets well.

    ``printed`` is what the jails have printed of late; ``lacking`` are paths that no root has.
    """

    unhealthy: set[str] = field(default_factory=set)
    printed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lacking: set[str] = field(default_factory=set)
    clock: Clock = field(default_factory=SystemClock)
    cancelled: Callable[[], bool] = lambda: False
    drivers_of_jails: frozenset[str] = frozenset({"memory"})
    #: Files with secrets by their path, and what each jail was last started with.
    files: dict[str, bytes] = field(default_factory=dict)
    started: dict[str, JailSpec] = field(default_factory=dict)

    def drivers(self) -> Drivers:
        """Drivers on this world."""
        secrets = Secrets(self.read_file)
        jails: Jails = MemoryJails(self)
        if self.files:
            jails = SecretJails(jails, secrets)
        return Drivers(
            storage=MemoryStorage(self),
            mounts=MemoryMounts(self),
            jails=dict.fromkeys(self.drivers_of_jails, jails),
            health=MemoryHealth(self),
            builder=MemoryBuilder(self),
            clock=self.clock,
            cancelled=self.cancelled,
            inspect_root=self.inspect_root,
            secrets=secrets,
            read=self.read_file,
        )

    def read_file(self, path: str) -> bytes:
        """The content of a file. Raises DriverError."""
        if path not in self.files:
            raise DriverError(f"cannot use {path}: it is not there")
        return self.files[path]

    def inspect_root(self, root: str, jail: JailSpec) -> None:
        """A staged root is as good as its release."""
        if self.look(f"mount:{root}") is None:
            raise DriverError(f"cannot inspect the next root of {jail.name}: nothing is mounted at {root}")
        for path in (*(volume.path for volume in jail.volumes), *jail.command[:1]):
            if path in self.lacking:
                raise DriverError(f"cannot run jail {jail.name} on {root}: {path} is not there")


class MemoryMounts:
    """A mount table with at most one mount a path."""

    def __init__(self, world: World) -> None:
        self._world = world

    def layers(self, path: str) -> int:
        """See Mounts."""
        return 0 if self._world.look(f"mount:{path}") is None else 1

    def holds(self, path: str, source: Source) -> bool:
        """See Mounts."""
        return self._world.look(f"mount:{path}") == source.what

    def is_writable(self, path: str) -> bool:
        """See Mounts. A mount in memory is read-only from the first."""
        return False

    def shown(self, path: str) -> tuple[str, ...]:
        """See Mounts."""
        there = self._world.look(f"mount:{path}")
        return () if there is None else (there,)

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
        """See Mounts. For a moment it is in both places, as on a Linux whose mounts are shared."""
        self._world.gate(f"before moving mount:{old}")
        moving, there = (self._world.state.get(f"mount:{path}") for path in (old, new))
        if moving is None and there is not None:
            return
        if moving is None or there not in (None, moving):
            raise DriverError(f"cannot move the mount at {old} to {new}")
        self._world.state[f"mount:{new}"] = moving
        self._world.gate(f"amid moving mount:{old}")
        del self._world.state[f"mount:{old}"]
        self._world.gate(f"after moving mount:{old}")


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
        self._world.started[jail.name] = jail
        self._world.put(f"jail:{jail.name}", BUILDING)
        self._world.put(f"jail:{jail.name}", root)

    def stop(self, jail: JailSpec) -> None:
        """See Jails."""
        self._world.drop(f"jail:{jail.name}")

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        """See Jails."""
        if self.state(jail) is not JailState.RUNNING:
            raise DriverError(f"cannot run {argv[0]} in jail {jail.name}: it does not run")
        return Completed(0, "", "")

    def last_words(self, jail: JailSpec) -> tuple[str, ...]:
        """See Jails."""
        return self._world.printed.get(jail.name, ())


class MemoryHealth:
    """A jail is well when it runs and its release is not among the unhealthy ones."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world

    def ask(self, check: HealthCheck, jail: JailSpec) -> str | None:
        """See Health."""
        root = self._world.look(f"jail:{jail.name}")
        if root is None or root == BUILDING:
            return f"jail {jail.name} does not run"
        return f"release {root} is not well" if root in self._world.unhealthy else None


class MemoryBuilder:
    """Follows no recipe; the content of a template is its name."""

    def __init__(self, world: World) -> None:
        self._world = world

    def preflight(self, recipe: Recipe, base: str | None = None) -> None:
        """See Builder."""

    def build(self, recipe: Recipe, root: str, cancelled: Callable[[], bool]) -> None:
        """See Builder."""
        self._world.gate(f"before building {root}")
        self._world.gate(f"after building {root}")

    def clear(self, root: str) -> None:
        """See Builder."""

    def packages(self, root: str) -> dict[str, str]:
        """See Builder."""
        return {}

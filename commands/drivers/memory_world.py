"""The small world that the memory drivers work on."""

from collections.abc import Callable
from dataclasses import dataclass, field

from commands.drivers.base import Presence
from commands.errors import Foreign

BUILDING = "building"
FOREIGN = "foreign"


def _no_gate(_point: str) -> None:
    return


@dataclass
class World:
    """All there is: ``state`` maps a thing to its content. ``gate`` is called with "before …" and "after …" words."""

    state: dict[str, str] = field(default_factory=dict)
    gate: Callable[[str], None] = _no_gate

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
        if self.state.get(key) == FOREIGN:
            raise Foreign(f"cannot set {key}: it is not ours")
        self.state[key] = value
        self.gate(f"after setting {key}")

    def drop(self, key: str) -> None:
        """One primitive removal; already gone is success."""
        self.gate(f"before dropping {key}")
        if self.state.get(key) == FOREIGN:
            raise Foreign(f"cannot drop {key}: it is not ours")
        self.state.pop(key, None)
        self.gate(f"after dropping {key}")

    def reboot(self) -> None:
        """Lose what a reboot loses: mounts and running jails."""
        for key in [key for key in self.state if key.startswith(("mount:", "jail:"))]:
            del self.state[key]


def presence_of(content: str | None) -> Presence:
    """What the content of an entry says of the thing."""
    match content:
        case None:
            return Presence.ABSENT
        case "foreign":
            return Presence.FOREIGN
        case "building":
            return Presence.PARTIAL
        case _:
            return Presence.PRESENT

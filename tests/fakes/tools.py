"""Every tool of the world by its name."""

import importlib
import os
from collections.abc import Callable, Sequence

from commands.drivers.door import Completed
from tests.fakes.world import FakeFreeBSD

Tool = Callable[[FakeFreeBSD, Sequence[str], str], Completed]

#: Modules with a table TOOLS. Whoever writes a tool adds its module here.
MODULES = ("zfs", "zpool", "mount", "files", "shell", "jail", "system")


def tools() -> dict[str, Tool]:
    """The tables of all modules put together."""
    found: dict[str, Tool] = {}
    for name in MODULES:
        found.update(importlib.import_module(f"tests.fakes.{name}").TOOLS)
    return found


def has(world: FakeFreeBSD, name: str) -> bool:
    """Whether a tool is installed."""
    return os.path.basename(name) in tools() and os.path.basename(name) not in world.state.missing


def run(world: FakeFreeBSD, argv: Sequence[str], stdin: str = "") -> Completed:
    """What a command answers; status 127 if there is none of that name, as from a shell."""
    name = os.path.basename(argv[0])
    if not has(world, argv[0]):
        return Completed(127, "", f"{argv[0]}: not found\n")
    return tools()[name](world, argv, stdin)

"""The tools in memory as programs: scripts on a PATH that share a state file, each run under a lock on it.

What is mounted in the world is a plain directory on the real machine: a mount point beneath ``shadow`` is made there.
"""

import fcntl
import os
import sys
from pathlib import Path

from tests.fakes import tools
from tests.fakes.world import FakeFreeBSD


def install(directory: Path, world: FakeFreeBSD, *names: str, shadow: Path) -> Path:
    """Write a script for each tool, and the state that they share; the directory of the scripts."""
    state = directory / "state"
    world.state.more["shadow"] = str(shadow)
    state.write_bytes(world.save())
    scripts = directory / "bin"
    scripts.mkdir()
    checkout = Path(__file__).resolve().parents[2]
    for name in names:
        script = scripts / name
        program = f"import sys; sys.path.insert(0, {str(checkout)!r}); from tests.fakes.executable import main"
        script.write_text(f"#!{sys.executable}\n{program}\nmain({name!r}, {str(state)!r})\n")
        script.chmod(0o755)
    return scripts


def load(directory: Path) -> FakeFreeBSD:
    """The world as the programs have left it."""
    world = FakeFreeBSD()
    world.restore((directory / "state").read_bytes())
    return world


def main(name: str, state: str) -> None:
    """One run of a tool."""
    with open(state, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        world = FakeFreeBSD()
        world.restore(file.read())
        completed = tools.run(world, [name, *sys.argv[1:]])
        file.seek(0)
        file.write(world.save())
        file.truncate()
        for mount in world.state.mounts:
            if mount.path.startswith(str(world.state.more["shadow"])):
                os.makedirs(mount.path, exist_ok=True)
    sys.stdout.write(completed.stdout)
    sys.stderr.write(completed.stderr)
    sys.exit(completed.status)

"""``python -m tests.policy.desk DIRECTORY WORDS…``: the real command line, for whoever really runs it.

Process, login, sudo, lock, ledger and policy are real; the jails of this host are kept in a file.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands import bootstrap
from commands.bootstrap import Session, compose, make_origin
from commands.cli import main
from commands.config import Config
from commands.drivers.identity import identify
from commands.drivers.memory import MemoryWorld
from commands.transactions.engine import Observer
from commands.transactions.interrupt import Interrupt
from ledger.writer import LedgerWriter

_WORLD = "world.json"


def sit_down(directory: Path) -> None:
    """Let the command line work on the host whose jails are in ``directory``."""
    world = MemoryWorld(drivers_of_jails=frozenset({"lxc"}))
    kept = directory / _WORLD
    if kept.exists():
        world.state.update(json.loads(kept.read_text()))

    @contextmanager
    def open_session(
        config: Config,
        *,
        interrupt: Interrupt,
        observer: Observer,
        invoked: tuple[str, ...] = tuple(sys.argv),
        create: bool = False,
    ) -> Iterator[Session]:
        person = identify()
        origin = make_origin("boot-1", invoked, person)
        opened = LedgerWriter.create if create else LedgerWriter.open
        with opened(Path(config.ledger_directory), origin, world.clock) as ledger:
            try:
                yield compose(config, ledger, world.drivers(), interrupt, observer, "boot-1", person=person)
            finally:
                kept.write_text(json.dumps(world.state))

    bootstrap.open_session = open_session


if __name__ == "__main__":
    place = Path(sys.argv[1])
    sit_down(place)
    sys.exit(main(["--config", str(place / "rootswap.toml"), *sys.argv[2:]]))

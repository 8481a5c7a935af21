"""``rootswap init``."""

from typing import TYPE_CHECKING

import typer

from commands.cli.options import OutputOption, ReasonOption, TicketOption
from commands.cli.output import Format

if TYPE_CHECKING:
    from commands.config import Config
    from commands.drivers.door import Host


def init(
    ctx: typer.Context, reason: ReasonOption = None, ticket: TicketOption = None, output: OutputOption = Format.TABLE
) -> None:
    """Create the ledger and the storage pool.

    What is there already stays as it is.

    Example: rootswap init
    """
    from collections.abc import Iterator
    from contextlib import contextmanager

    from commands import bootstrap
    from commands.bootstrap import Session
    from commands.cli.transact import Say, at_work, report
    from commands.config import Config
    from commands.drivers.host import LocalHost
    from commands.errors import Refused
    from commands.transactions.engine import Observer
    from commands.transactions.interrupt import Interrupt
    from commands.transactions.plan import Purpose

    @contextmanager
    def create(config: Config, interrupt: Interrupt, observer: Observer, _say: Say) -> Iterator[Session]:
        # For root alone: it is the way to every jail's files.
        if reason is None and _is_lost(config, LocalHost()):
            raise Refused(
                f"cannot begin a new history: the ledger of {config.ledger_directory} is gone, its keys are not",
                remedy="put its copy back, as the runbook says, or say why there is none: rootswap init --reason TEXT",
            )
        for host in (LocalHost(), bootstrap.open_host(config)):
            host.make_directory(config.state_directory, mode=0o700)
        with bootstrap.open_session(config, interrupt=interrupt, observer=observer, create=True) as session:
            yield session

    with at_work(ctx, create) as work:
        plan = work.session.requests.init()
        purpose = Purpose(reason=reason, ticket=ticket)
        done = [] if plan is None else [(plan, work.session.engine.execute(plan, purpose))]
    report(done, output, "nothing to do: ledger and pool are there")


def _is_lost(config: "Config", host: "Host") -> bool:
    """Whether keys have signed a ledger that is not there any more."""
    from ledger.schema import LEDGER_FILE

    has_signed = any(name.endswith(".signed") for name in host.entries(config.keys_directory))
    return has_signed and host.stat(f"{config.ledger_directory}/{LEDGER_FILE}") is None

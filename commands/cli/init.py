"""``rootswap init``."""

import typer

from commands.cli.options import OutputOption, ReasonOption, TicketOption
from commands.cli.output import Format


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
    from commands.transactions.engine import Observer
    from commands.transactions.interrupt import Interrupt
    from commands.transactions.plan import Purpose

    @contextmanager
    def create(config: Config, interrupt: Interrupt, observer: Observer, _say: Say) -> Iterator[Session]:
        # For root alone: it is the way to every jail's files.
        for host in (LocalHost(), bootstrap.open_host(config)):
            host.make_directory(config.state_directory, mode=0o700)
        with bootstrap.open_session(config, interrupt=interrupt, observer=observer, create=True) as session:
            yield session

    with at_work(ctx, create) as work:
        plan = work.session.requests.init()
        purpose = Purpose(reason=reason, ticket=ticket)
        done = [] if plan is None else [(plan, work.session.engine.execute(plan, purpose))]
    report(done, output, "nothing to do: ledger and pool are there")

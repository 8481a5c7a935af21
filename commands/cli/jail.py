"""``rootswap jail start`` and ``stop``."""

from typing import Annotated

import typer

from commands.cli.options import EmergencyOption, OutputOption, ReasonOption, TicketOption
from commands.cli.output import Format

NameArgument = Annotated[str, typer.Argument(metavar="JAIL", help="The jail, as configured.")]


def start(
    ctx: typer.Context,
    name: NameArgument,
    reason: ReasonOption = None,
    ticket: TicketOption = None,
    emergency: EmergencyOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Start a jail that was stopped, on the release that it is on.

    Example: rootswap jail start web
    """
    from commands.cli.transact import transact
    from commands.transactions.plan import Purpose

    purpose = Purpose(reason=reason, ticket=ticket, is_emergency=emergency)
    transact(ctx, lambda session: session.requests.start(name), purpose, output, f"nothing to do: {name} runs")


def stop(
    ctx: typer.Context,
    name: NameArgument,
    reason: ReasonOption = None,
    ticket: TicketOption = None,
    emergency: EmergencyOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Stop a jail; it stays stopped, across reboots and upgrades, until it is started.

    Example: rootswap jail stop web --reason "maintenance of the database"
    """
    from commands.cli.transact import transact
    from commands.transactions.plan import Purpose

    purpose = Purpose(reason=reason, ticket=ticket, is_emergency=emergency)
    nothing = f"nothing to do: {name} is stopped"
    transact(ctx, lambda session: session.requests.stop(name), purpose, output, nothing)

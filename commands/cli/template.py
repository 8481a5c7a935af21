"""``rootswap template build`` and ``upgrade``: roots are made offline, and a release is taken of each."""

from typing import Annotated

import typer

from commands.cli.options import OutputOption, ReasonOption, TicketOption
from commands.cli.output import Format

NameArgument = Annotated[str, typer.Argument(metavar="TEMPLATE", help="The template, as configured.")]


def build(
    ctx: typer.Context,
    name: NameArgument,
    again: Annotated[bool, typer.Option("--again", help="Also if it is there, as from a new archive.")] = False,
    reason: ReasonOption = None,
    ticket: TicketOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Build a template from nothing and take a release of it.

    With --again the template begins anew: what scripts have done to it since it was built is not in the new release.
    Jails stay on their releases until they are upgraded.

    Example: rootswap template build debian
    """
    from commands.cli.transact import transact
    from commands.transactions.plan import Purpose

    purpose = Purpose(reason=reason, ticket=ticket)
    transact(ctx, lambda session: session.requests.build(name, again=again), purpose, output, "nothing to do")


def upgrade(
    ctx: typer.Context,
    name: NameArgument,
    script: Annotated[
        str | None,
        typer.Option("--script", metavar="FILE", help="Run this inside the root instead of the configured upgrade."),
    ] = None,
    reason: ReasonOption = None,
    ticket: TicketOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Upgrade a copy of a template and take a release of it; jails stay on theirs until they are upgraded.

    Example: rootswap template upgrade debian --reason "security updates of this week"
    """
    import os.path

    from commands.cli.transact import transact
    from commands.transactions.plan import Purpose

    file = None if script is None else os.path.abspath(script)
    purpose = Purpose(reason=reason, ticket=ticket)
    transact(ctx, lambda session: session.requests.upgrade_template(name, file), purpose, output, "nothing to do")

"""``rootswap release destroy``."""

from typing import Annotated

import typer

from commands.cli.options import EmergencyOption, OutputOption, ReasonOption, TicketOption, YesOption, confirm
from commands.cli.output import Format


def destroy(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="The release, as TEMPLATE@ID.")],
    yes: YesOption = False,
    reason: ReasonOption = None,
    ticket: TicketOption = None,
    emergency: EmergencyOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Destroy a release that no jail is on and that no jail would be rolled back to.

    Example: rootswap release destroy debian@7k3mq2xa
    """
    from commands.cli.transact import require_root, transact
    from commands.transactions.plan import Purpose

    require_root()
    confirm(f"Destroy release {release} for good?", is_agreed=yes)
    purpose = Purpose(reason=reason, ticket=ticket, is_emergency=emergency)
    transact(ctx, lambda session: session.requests.destroy_release(release), purpose, output, "nothing to do")

"""The options that verbs share, and the configuration they work with.

``--json`` needs no parameter of its own: ``main`` reads it as ``--output json``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli.output import Format, is_terminal

if TYPE_CHECKING:
    from commands.config import Config

OutputOption = Annotated[
    Format,
    typer.Option("--output", "-o", help="How to print the result; --json is short for -o json.", show_default=True),
]
#: What somebody has to say is read in tables, and kept for ever.
LONGEST_WORDS = 4096


def _brief(words: str | None) -> str | None:
    from commands.errors import UsageError

    if words is not None and len(words) > LONGEST_WORDS:
        raise UsageError(
            f"cannot record a reason or a ticket of {len(words)} characters: at most {LONGEST_WORDS} are kept",
            remedy="put the long text into the ticket, and its number here",
        )
    return words


ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="Why this is done, for the ledger.", callback=_brief)
]
TicketOption = Annotated[
    str | None, typer.Option("--ticket", help="The ticket or change that this belongs to.", callback=_brief)
]
EmergencyOption = Annotated[
    bool,
    typer.Option("--emergency", help="Go over the policy; needs --reason, is logged, and owes an approval afterwards."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", "-n", help="Print every step and its undo, rehearse them in memory, change nothing."),
]
ExitCodeOption = Annotated[
    bool, typer.Option("--exit-code", help="With -n: exit with 10 if there is something to do, 0 if not.")
]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the whole command line has in common: where the configuration is, None for the usual place."""

    config: str | None = None


def config_path(ctx: typer.Context) -> str | None:
    """Where the configuration is; None for the usual place."""
    return (ctx.find_object(Invocation) or Invocation()).config


def read_config(ctx: typer.Context) -> "Config":
    """The configuration, read and checked. Raises ConfigError."""
    from commands.config import load

    return load(config_path(ctx)).config


def confirm(question: str, *, is_agreed: bool) -> None:
    """Ask a person, unless ``is_agreed``. Raises UsageError when nobody can be asked, Refused for a no."""
    import sys

    from commands.errors import Refused, UsageError

    if is_agreed:
        return
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError("cannot ask whether to go on: no terminal", remedy="add --yes if you are sure")
    if not typer.confirm(question, err=True):
        raise Refused("stopped by you; nothing was changed")


def require_dry_run(dry_run: bool, exit_code: bool) -> None:
    """Raise UsageError for ``--exit-code`` without ``-n``."""
    from commands.errors import UsageError

    if exit_code and not dry_run:
        raise UsageError("cannot use --exit-code alone: it belongs to a dry run", remedy="add -n")

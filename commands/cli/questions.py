"""``audit who``, ``failed``, ``rollbacks``, ``unapproved``, ``outside-window`` and ``open``: lists of changes."""

import typer

from commands.cli import options
from commands.cli.asking import (
    Column,
    LimitOption,
    SinceOption,
    TargetOption,
    UntilOption,
    answer,
    common_columns,
    length,
    print_rows,
    scope_of,
    time,
    word,
)
from commands.cli.output import Format
from commands.cli.reading import UtcOption, open_ledger


def who(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Who changed what: each login with its changes, how they ended, the approvals it gave and what it decided.

    Example: rootswap audit who --since 30d --target web
    """
    from projections.questions import PEOPLE_KEYS, people
    from projections.shelf import open_tables

    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        scope = scope_of(reader, config, since, until, target)
        with open_tables(reader) as tables:
            rows = people(tables, scope)
    counts = ("begun", "committed", "rolled_back", "unfinished", "targets", "approved", "decided")
    columns = [
        Column("login", word("login")),
        Column("uid", word("uid")),
        Column("login uid", word("login_uid")),
        *(Column(name.replace("_", " "), word(name)) for name in counts),
        Column("first", time("first_at", utc)),
        Column("last", time("last_at", utc)),
    ]
    print_rows(rows, PEOPLE_KEYS, output, columns, "nobody changed anything in that period")


def failed(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    limit: LimitOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Changes that failed: rolled back, refused or stuck, and why.

    Example: rootswap audit failed --since 2026-01-01 --until 2026-04-01 -o csv
    """
    columns = [*common_columns(utc), Column("downtime", length("downtime_ns")), Column("cause", word("cause"))]
    answer(ctx, "failed", (since, until, target, limit), output, columns, "nothing failed in that period")


def rollbacks(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    limit: LimitOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Rollbacks, by the engine or by an operator, and how long each took: from turning back to being as before.

    Example: rootswap audit rollbacks --target web
    """
    columns = [
        *common_columns(utc),
        Column("how", word("how")),
        Column("took", length("took_ns")),
        Column("downtime", length("downtime_ns")),
        Column("why", word("why")),
    ]
    answer(ctx, "rollbacks", (since, until, target, limit), output, columns, "nothing was rolled back in that period")


def unapproved(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    limit: LimitOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Changes that nobody else had approved when they began: without approval, self-approved, or approved afterwards.

    What recovery did by itself, and plans that were refused, are not among them.

    Example: rootswap audit unapproved --since 90d
    """
    columns = [
        *common_columns(utc),
        Column("approval", word("approval")),
        Column("approved by", word("approved_by")),
        Column("at", time("approved_at", utc)),
        Column("ticket", word("ticket")),
        Column("reason", word("reason")),
    ]
    answer(
        ctx, "unapproved", (since, until, target, limit), output, columns, "every change was approved before it began"
    )


def outside_window(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    limit: LimitOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Changes that began outside of their maintenance window, or in a freeze, and on whose word.

    Example: rootswap audit outside-window --since 90d
    """
    columns = [
        *common_columns(utc),
        Column("window", word("window")),
        Column("name", word("window_name")),
        Column("basis", word("basis")),
        Column("approved by", word("approved_by")),
        Column("ticket", word("ticket")),
        Column("reason", word("reason")),
    ]
    empty = "no change began outside of its window"
    answer(ctx, "outside-window", (since, until, target, limit), output, columns, empty)


def open_changes(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    limit: LimitOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """What has not ended, is stuck, waits for an approval, or was an emergency and still owes one.

    Example: rootswap audit open
    """
    columns = [
        *common_columns(utc),
        Column("approval", word("approval")),
        Column("due", time("settle_by", utc)),
        Column("cause", word("cause")),
    ]
    answer(ctx, "open", (since, until, target, limit), output, columns, "nothing is open")

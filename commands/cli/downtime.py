"""``audit downtime``: how long each jail was down, and where the time went."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from commands.cli import options
from commands.cli.asking import (
    Column,
    LimitOption,
    SinceOption,
    TargetOption,
    UntilOption,
    columns_of,
    common_columns,
    cut,
    length,
    limit_for,
    one_more,
    scope_of,
    time,
)
from commands.cli.output import Cell, Format, Table, aligned, duration, show
from commands.cli.reading import UtcOption, open_ledger, show_lines

if TYPE_CHECKING:
    from projections.questions import Downtime


def downtime(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    limit: LimitOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Downtime: percentiles and the share of each step for every jail, and each change with its own.

    The percentiles are nearest-rank ones, over all changes of the period. CSV and JSON lines hold the changes.

    Example: rootswap audit downtime --target web --since 90d
    """
    from projections.questions import BY_NAME, ask, downtimes
    from projections.shelf import open_tables

    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        scope = scope_of(reader, config, since, until, target, limit_for(limit, output))
        with open_tables(reader) as tables:
            summaries = downtimes(tables, scope)
            rows = ask(tables, "downtime", one_more(scope))
            keys = columns_of(tables, BY_NAME["downtime"].text())
    changes = cut(rows, scope.limit)
    columns = [
        *common_columns(utc),
        Column("down since", time("down_at", utc)),
        Column("downtime", length("downtime_ns")),
    ]
    table = Table(
        tuple(c.heading for c in columns),
        [[c.cell(row) for c in columns] for row in changes],
        "nothing was down in that period",
    )
    match output:
        case Format.TABLE:
            parts = [aligned(_summary(summaries)), aligned(table)] if summaries else [aligned(table)]
            show(output, None, "\n".join(parts))
        case Format.JSON:
            show(output, {"targets": [asdict(one) for one in summaries], "changes": changes}, table)
        case _:
            show_lines(output, changes, keys, table)


def _summary(summaries: "list[Downtime]") -> Table:
    names = tuple(name.removesuffix("_ns") for name in (summaries[0].shares if summaries else ()))
    rows: list[list[Cell]] = []
    for one in summaries:
        lengths = (one.p50_ns, one.p95_ns, one.max_ns, one.total_ns)
        shares = (f"{100 * share / one.total_ns:.0f} %" if one.total_ns else None for share in one.shares.values())
        rows.append([one.target, one.changes, *(duration(length) for length in lengths), *shares])
    return Table(("target", "changes", "p50", "p95", "max", "total", *names), rows)

"""What the questions of ``audit`` have in common: the period, the scope, and how an answer is printed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from commands.cli import options
from commands.cli.output import Cell, Format, Table, note
from commands.cli.reading import find_target, moment, open_ledger, show_lines

if TYPE_CHECKING:
    from commands.config import Config
    from ledger.reader import LedgerReader
    from projections.questions import Connection, Row, Scope

SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From then on: 2h, 7d, or RFC 3339.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before that time.")]
TargetOption = Annotated[str | None, typer.Option("--target", help="Of one jail, template, …")]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=0, help="At most so many, the newest; 0 for all. A table shows 1000 unless told."),
]

#: More lines than anybody reads, few enough to come at once. Machines get all, unless they say how many.
MOST = 1000


class Column(NamedTuple):
    """A column for people: its heading, and what stands in it."""

    heading: str
    cell: "Callable[[Row], Cell]"


def period(since: str | None, until: str | None) -> tuple[str, str]:
    """Both ends as the ledger spells them, empty for no bound. Raises UsageError."""
    from ledger.clock import SystemClock

    now = SystemClock().now()
    return "" if since is None else moment(since, now), "" if until is None else moment(until, now)


def limit_for(limit: int | None, output: Format) -> int:
    """How many lines to show; 0 for all."""
    if limit is None:
        return MOST if output is Format.TABLE else 0
    return limit


def scope_of(
    reader: "LedgerReader", config: "Config", since: str | None, until: str | None, target: str | None, limit: int = 0
) -> "Scope":
    """The scope that the options describe. Raises UsageError."""
    from projections.questions import Scope

    first, end = period(since, until)
    wanted = None if target is None else find_target(reader, config, target)
    return Scope(first, end, wanted, limit or -1)


def answer(
    ctx: typer.Context,
    name: str,
    bounds: tuple[str | None, str | None, str | None, int | None],
    output: Format,
    columns: Sequence[Column],
    empty: str,
) -> None:
    """Ask the question ``name`` of the projections and print what comes; ``bounds`` are since, until, target, limit."""
    from projections.questions import BY_NAME, ask
    from projections.shelf import open_tables

    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        scope = scope_of(reader, config, bounds[0], bounds[1], bounds[2], limit_for(bounds[3], output))
        with open_tables(reader) as tables:
            rows = ask(tables, name, one_more(scope))
            keys = columns_of(tables, BY_NAME[name].text())
    print_rows(cut(rows, scope.limit), keys, output, columns, empty)


def one_more(scope: "Scope") -> "Scope":
    """The scope with one line more, which tells whether there are any."""
    return scope if scope.limit < 0 else replace(scope, limit=scope.limit + 1)


def cut(rows: "list[Row]", limit: int, *, newest_last: bool = False) -> "list[Row]":
    """The newest ``limit`` rows; says so if there were more."""
    if 0 <= limit < len(rows):
        note(f"only the newest {limit} are shown: --limit 0 for all")
        return rows[-limit:] if newest_last else rows[:limit]
    return rows


def columns_of(tables: "Connection", text: str) -> tuple[str, ...]:
    """The keys of the rows that a question gives, known even where there are none."""
    from projections import questions

    return questions.columns_of(tables, text)


def print_rows(
    rows: "Sequence[Row]", keys: Sequence[str], output: Format, columns: Sequence[Column], empty: str
) -> None:
    """Print an answer: its rows to machines, ``columns`` to people."""
    table = Table(tuple(c.heading for c in columns), [[c.cell(row) for c in columns] for row in rows], empty)
    show_lines(output, rows, keys, table)


def common_columns(utc: bool) -> list[Column]:
    """What every list of changes starts with."""
    return [
        Column("transaction", word("transaction_id")),
        Column("kind", word("kind")),
        Column("target", word("target")),
        Column("state", word("state")),
        Column("begun", time("begun_at", utc)),
        Column("by", word("login")),
    ]


def word(key: str) -> "Callable[[Row], Cell]":
    """A cell that is what the row has."""
    return lambda row: row[key]


def time(key: str, utc: bool, *, is_precise: bool = False) -> "Callable[[Row], Cell]":
    """A cell with a recorded time."""
    from commands.cli.reading import when

    def cell(row: "Row") -> Cell:
        at = row[key]
        return when(at, utc, is_precise=is_precise) if isinstance(at, str) else None

    return cell


def length(key: str) -> "Callable[[Row], Cell]":
    """A cell with a length of time."""
    from commands.cli.output import duration

    def cell(row: "Row") -> Cell:
        value = row[key]
        return duration(value if isinstance(value, int) else None)

    return cell

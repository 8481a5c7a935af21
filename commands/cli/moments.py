"""``audit at``: what ran at a moment of the past, and by what evidence."""

from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli import options
from commands.cli.asking import TargetOption, scope_of
from commands.cli.output import Cell, Format, Table, aligned, show
from commands.cli.reading import UtcOption, moment, open_ledger, show_lines, when

if TYPE_CHECKING:
    from ledger.checkpoint import Seal
    from projections.asof import Standing


def at(
    ctx: typer.Context,
    time: Annotated[str, typer.Argument(metavar="TIME", help="2h (ago), or RFC 3339: 2026-11-23T22:00:00+01:00.")],
    target: TargetOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """What ran on each jail and slot at a moment, with the record that says so and the checkpoint that vouches for it.

    The answer is the state after the last record that was written by then: its number is the evidence.

    Example: rootswap audit at 2026-11-23T22:00:00+01:00
    """
    from ledger.clock import SystemClock
    from projections.asof import place_of, standings_at
    from projections.shelf import open_tables

    wanted_at = moment(time, SystemClock().now())
    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        scope = scope_of(reader, config, None, None, target)
        with open_tables(reader) as tables:
            seq = place_of(reader, tables, wanted_at)
            found = standings_at(tables, seq)
        seal = reader.seal_of(seq) if seq else None
    standings = [one for one in found if scope.target in (None, one.target)]
    items = [_standing_data(one) for one in standings]
    data = {"at": wanted_at, "seq": seq, "checkpoint": seal and seal.checkpoint.text, "targets": items}
    evidence = _evidence_words(wanted_at, seq, seal, utc)
    table = _standings_table(standings, utc)
    match output:
        case Format.TABLE:
            show(output, data, f"{evidence}\n\n{aligned(table)}")
        case Format.JSON:
            show(output, data, table)
        case _:
            placed = [
                {"at": wanted_at, "seq": seq, "sealed_by": seal and seal.checkpoint.size, **item} for item in items
            ]
            show_lines(output, placed, ("at", "seq", "sealed_by", *STANDING_KEYS), table)


STANDING_KEYS = (
    "target",
    "release",
    "running",
    "head",
    "path",
    "since",
    "brought_by",
    "settled_at",
    "settled_by",
    "settled_seq",
    "open",
    "open_kind",
    "open_since",
)


def _standing_data(one: "Standing") -> dict[str, object]:
    settled = one.settled
    values = (
        one.target,
        settled and settled.release,
        settled and settled.running,
        settled and settled.head,
        settled and settled.path,
        one.since,
        one.brought_by,
        one.settled_at,
        one.by,
        one.seq,
        one.open,
        one.open_kind,
        one.open_since,
    )
    return dict(zip(STANDING_KEYS, values, strict=True))


def _evidence_words(at: str, seq: int, seal: "Seal | None", utc: bool) -> str:
    if not seq:
        return f"at {when(at, utc)} there was no record yet"
    vouched = "not under a signed checkpoint yet"
    if seal is not None:
        vouched = f"under the signed checkpoint of {seal.checkpoint.size} records"
    return f"as of record {seq}, the last one written by {when(at, utc)}; {vouched}"


def _standings_table(standings: "list[Standing]", utc: bool) -> Table:
    rows: list[list[Cell]] = []
    for one in standings:
        settled = one.settled
        ran = (settled.release or settled.path) if settled else None
        running = None if settled is None or settled.running is None else "running" if settled.running else "stopped"
        under_way = f"{one.open_kind} {one.open}, begun {when(one.open_since, utc)}" if one.open else None
        rows.append([one.target, ran, running, when(one.since, utc), one.brought_by, one.seq, under_way])
    columns = ("target", "ran on", "recorded as", "since", "by", "record", "under way")
    return Table(columns, rows, "nothing was there")

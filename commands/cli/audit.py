"""``audit``: the ledger as auditors read it."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli import options
from commands.cli.output import Cell, Format, Table, duration
from commands.cli.reading import (
    UtcOption,
    find_target,
    find_transaction,
    keys_of,
    moment,
    open_ledger,
    show_lines,
    when,
)

if TYPE_CHECKING:
    from ledger.reader import LedgerReader

SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From then on: 2h, 7d, or RFC 3339.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before that time.")]


def log(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: Annotated[str | None, typer.Option("--target", help="Of one jail, template, …")] = None,
    tx: Annotated[str | None, typer.Option("--tx", help="Of one transaction.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the last ones.")] = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Show who did what, when, to what end: one line per record. With -o jsonl, the records exactly as stored."""
    from ledger.clock import SystemClock
    from projections import queries
    from projections.projector import open_projector
    from projections.timeline import LogLine

    now = SystemClock().now()
    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        wanted = None if target is None else find_target(reader, config, target)
        transaction = None if tx is None else find_transaction(reader, tx)
        first = None if since is None else moment(since, now)
        end = None if until is None else moment(until, now)
        with open_projector(reader) as projector:
            lines = queries.log(projector, since=first, until=end, target=wanted, transaction=transaction, limit=limit)
        if output is Format.JSONL:
            _write_stored(reader, [line.seq for line in lines])
            return
    columns = ("seq", "time", "who", "target", "transaction", "what", "outcome", "took", "detail")
    rows: list[list[Cell]] = [
        [
            line.seq,
            when(line.at, utc, is_precise=True),
            line.login,
            line.target,
            line.transaction_id,
            line.what,
            line.outcome,
            duration(line.duration_ns),
            line.detail,
        ]
        for line in lines
    ]
    empty = "no records of that kind; `rootswap audit log` without options shows all"
    show_lines(output, [asdict(line) for line in lines], keys_of(LogLine), Table(columns, rows, empty))


def _write_stored(reader: "LedgerReader", seqs: Sequence[int]) -> None:
    """The bytes that were hashed, which may not pass through a text encoding."""
    from projections.exports import stored_bytes

    for data in stored_bytes(reader.path, seqs):
        sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()

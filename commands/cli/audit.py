"""``audit``: the ledger as auditors read it."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli import options
from commands.cli.asking import (
    Column,
    LimitOption,
    SinceOption,
    TargetOption,
    UntilOption,
    cut,
    length,
    limit_for,
    print_rows,
    scope_of,
    time,
    word,
)
from commands.cli.output import Format
from commands.cli.reading import (
    UtcOption,
    find_transaction,
    open_ledger,
)

if TYPE_CHECKING:
    from ledger.reader import LedgerReader


def log(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    tx: Annotated[str | None, typer.Option("--tx", help="Of one transaction.")] = None,
    limit: LimitOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Show who did what, when, to what end: one line per record. With -o jsonl, the records exactly as stored."""
    from projections.records import COLUMNS, LogScope
    from projections.records import log as ask
    from projections.shelf import open_tables

    config = options.read_config(ctx)
    wanted = limit_for(limit, output)
    with open_ledger(config) as reader:
        scope = scope_of(reader, config, since, until, target)
        transaction = None if tx is None else find_transaction(reader, tx)
        with open_tables(reader) as tables:
            found = LogScope(scope.since, scope.until, scope.target, transaction)
            lines = ask(reader, tables, found, wanted + 1 if wanted else -1)
        lines = cut(lines, wanted or -1, newest_last=True)
        if output is Format.JSONL:
            _write_stored(reader, [line["seq"] for line in lines if isinstance(line["seq"], int)])
            return
    columns = [
        Column("seq", word("seq")),
        Column("time", time("at", utc, is_precise=True)),
        Column("who", word("login")),
        Column("target", word("target")),
        Column("transaction", word("transaction_id")),
        Column("what", word("what")),
        Column("outcome", word("outcome")),
        Column("took", length("duration_ns")),
        Column("detail", word("detail")),
    ]
    empty = "no records of that kind; `rootswap audit log` without options shows all"
    print_rows(lines, COLUMNS, output, columns, empty)


def _write_stored(reader: "LedgerReader", seqs: Sequence[int]) -> None:
    """The bytes that were hashed, which may not pass through a text encoding."""
    from projections.exports import stored_bytes

    for data in stored_bytes(reader.path, seqs):
        sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()

"""``audit export``: the records, for other tools."""

import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli import options
from commands.cli.asking import SinceOption, TargetOption, UntilOption, scope_of
from commands.cli.output import note, silence
from commands.cli.reading import find_transaction, open_ledger

if TYPE_CHECKING:
    from ledger.reader import LedgerReader

FileOption = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else to stdout.")
]


class ExportFormat(StrEnum):
    """What the records are spelt in."""

    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"
    OCSF = "ocsf"
    RFC5424 = "rfc5424"
    CSV = "csv"


def export(
    ctx: typer.Context,
    format: Annotated[ExportFormat, typer.Option("--format", "-f", help="jsonl is the exact bytes that were hashed.")],
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    tx: Annotated[str | None, typer.Option("--tx", help="Of one transaction.")] = None,
    file: FileOption = None,
) -> None:
    """Write the records for other tools: as stored, as CloudEvents 1.0, OCSF 1.8, RFC 5424 syslog, or CSV.

    Only jsonl can be verified; all others name their record by its number and by the SHA-256 of its stored bytes.

    Example: rootswap audit export --format ocsf --since 24h --output events.jsonl
    """
    import os

    from commands.drivers.host import LocalHost
    from projections.exports import export as spell
    from projections.records import LogScope, seqs_of
    from projections.shelf import open_tables

    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        scope = scope_of(reader, config, since, until, target)
        transaction = None if tx is None else find_transaction(reader, tx)
        with open_tables(reader) as tables:
            found = LogScope(scope.since, scope.until, scope.target, transaction)
            seqs = seqs_of(reader, tables, found)
        lines = spell(reader.path, origin(reader), seqs, format.value)
        if file is None:
            _print(lines)
            return
        LocalHost().write_stream(os.path.abspath(file), lines, 0o600)
    note(f"{file}: {len(seqs)} records as {format.value}")


def origin(reader: "LedgerReader") -> str:
    """What the checkpoints call the ledger."""
    from ledger.checkpoint import origin_of

    first = next(reader.records(limit=1), None)
    return origin_of(first.host_id, first.event_id) if first else "rootswap"


def _print(lines: Iterator[bytes]) -> None:
    """Bytes, which may not pass through a text encoding; a reader who goes away is no error."""
    try:
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        silence(sys.stdout)

"""``audit population`` and ``audit evidence``: what an auditor samples from, and what proves a sample."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli import options
from commands.cli.asking import Column, SinceOption, TargetOption, UntilOption, common_columns, scope_of, word
from commands.cli.output import Format, Table, fitted, note, show
from commands.cli.reading import UtcOption, find_transaction, open_ledger

if TYPE_CHECKING:
    from ledger.reader import LedgerReader
    from projections.evidence import Exhibit
    from projections.population import Population


def population(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Every change of a period, to sample from, and the statement that none is missing.

    The statement holds the number of changes, the SHA-256 of the list as -o jsonl prints it, and the signed checkpoint.

    Example: rootswap audit population --since 2026-01-01 --until 2026-04-01 -o jsonl > population.jsonl
    """
    from projections.population import count
    from projections.population import population as make
    from projections.shelf import open_tables

    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        scope = scope_of(reader, config, since, until, target)
        with open_tables(reader) as tables:
            require_whole(reader, count(tables))
            seal = reader.last_seal()
            key = None if seal is None else reader.key_at(seal.checkpoint.size)
            found = make(tables, scope, reader.last_seq(), seal, key)
    _print_population(found, output, utc)


def require_whole(reader: "LedgerReader", listed: int) -> None:
    """Raise LedgerNewer unless as many transactions can be listed as the ledger's own index has."""
    from ledger.errors import LedgerNewer

    missing = reader.count_transactions() - listed
    if missing:
        raise LedgerNewer(
            f"cannot list every change: {missing} were begun by a newer rootswap",
            remedy="use the rootswap that wrote the last records, or a newer one",
        )


def _print_population(found: "Population", output: Format, utc: bool) -> None:
    columns = [Column("record", word("begun_seq")), *common_columns(utc), Column("ticket", word("ticket"))]
    cells = [[column.cell(row) for column in columns] for row in found.changes]
    table = Table(tuple(column.heading for column in columns), cells, "nothing was changed in that period")
    match output:
        case Format.JSON:
            show(output, {"statement": found.statement, "changes": found.changes}, table)
        case Format.JSONL:
            sys.stdout.buffer.write(found.lines)
            sys.stdout.buffer.flush()
            note(_stated(found))
        case Format.TABLE:
            show(output, None, f"{fitted(table)}\n{_stated(found)}")
        case _:
            keys = tuple(found.changes[0]) if found.changes else ("transaction_id",)
            show(output, None, Table(keys, [list(row.values()) for row in found.changes]))
            note(_stated(found))


def _stated(found: "Population") -> str:
    said = f"{len(found.changes)} changes, sha256 {found.digest}; the ledger has {found.size} records without a gap"
    if found.seal is None:
        return f"{said}; nothing is signed yet: rootswap audit checkpoint"
    origin, size, root = found.seal.checkpoint.text.splitlines()
    missing = len(found.changes) - found.covered
    tail = f"; {missing} began after it and are not covered: rootswap audit checkpoint" if missing else ""
    return f"{said}\ncheckpoint {origin} {size} {root}: {found.covered} of them are under it{tail}"


def evidence(
    ctx: typer.Context,
    transactions: Annotated[list[str], typer.Argument(metavar="TX…", help="Transactions, or their first letters.")],
    file: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to write it: a .zip.")],
    utc: UtcOption = False,
) -> None:
    """Pack the evidence for a sample: exact records, a proof of each, the signed checkpoint, and a page for people.

    What is in the zip can be checked with sha256sum and ssh-keygen; a README in it says how.

    Example: rootswap audit evidence ke835m13 89zcfyaq --output evidence.zip
    """
    from commands.cli.report import frame_of
    from commands.drivers.host import LocalHost
    from commands.drivers.signing import SshChecker
    from ledger.clock import SystemClock
    from projections.evidence import pack

    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        names = list(dict.fromkeys(find_transaction(reader, one) for one in transactions))
        exhibits = _exhibits(reader, names)
        frame = frame_of(reader, f"{SystemClock().now():%Y-%m-%dT%H:%M:%S.%f}Z", utc)
    proofs = [proof for one in exhibits for proof in one.proofs]
    for number, proof in enumerate(proofs):
        # One signature is over them all; each record has its own path.
        proof.check(SshChecker(LocalHost())) if number == 0 else proof.check_tree()
    LocalHost().write(os.path.abspath(file), pack(exhibits, frame), 0o600)
    sealed = proofs[0].seal.checkpoint.size
    changes = "1 transaction" if len(exhibits) == 1 else f"{len(exhibits)} transactions"
    note(f"{file}: {changes}, {len(proofs)} records under the checkpoint of {sealed} records")


def _exhibits(reader: "LedgerReader", names: list[str]) -> "list[Exhibit]":
    """Each transaction with proofs under one seal: one that comes in the meantime makes us begin again."""
    while True:
        exhibits = [_exhibit(reader, name) for name in names]
        if len({proof.seal.checkpoint.size for one in exhibits for proof in one.proofs}) == 1:
            return exhibits


def _exhibit(reader: "LedgerReader", name: str) -> "Exhibit":
    from ledger.errors import LedgerNewer
    from projections.evidence import Exhibit
    from projections.history import tell
    from projections.timeline import entry

    records = list(reader.records(transaction=name))
    story = None
    for record in records:
        story = tell(story, record)
    if story is None:
        raise LedgerNewer(f"cannot show transaction {name}: its first record is of a newer version")
    return Exhibit(story, tuple(map(entry, records)), tuple(reader.prove(record.seq) for record in records))

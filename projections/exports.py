"""Records on their way out, in the formats that other tools read.

``jsonl`` is the exact bytes that were hashed, which alone can be verified; all others are derived from them, and name
the record that they are of by its number and by the SHA-256 of its bytes.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ledger import rows, schema
from ledger.codec import AnyRecord
from projections.formats import Exported
from projections.formats.cloudevents import cloud_event
from projections.formats.ocsf import ocsf_event
from projections.formats.separated import HEADING, separated
from projections.formats.syslog import syslog_line

_PAGE = 256

#: Spells one record; without the newline.
Spell = Callable[[Exported], bytes]
FORMATS: dict[str, Spell] = {
    "jsonl": lambda one: one.data,
    "cloudevents": cloud_event,
    "ocsf": ocsf_event,
    "rfc5424": syslog_line,
    "csv": separated,
}


def export(path: Path, origin: str, seqs: Sequence[int], format: str) -> Iterator[bytes]:
    """The records ``seqs`` of the ledger file ``path``, line by line; ``origin`` is what checkpoints call the ledger.

    Raises LedgerDamaged for bytes that are not those that were hashed, and as the reader does.
    """
    spell = FORMATS[format]
    if format == "csv":
        yield HEADING
    for data, record in _stored(path, seqs):
        yield spell(Exported(data, record, origin)) + b"\n"


def stored_bytes(path: Path, seqs: Sequence[int]) -> Iterator[bytes]:
    """The bytes of the records ``seqs`` of the ledger file ``path``, in that order; raises as ``export``."""
    return (data for data, _ in _stored(path, seqs))


def _stored(path: Path, seqs: Sequence[int]) -> Iterator[tuple[bytes, AnyRecord]]:
    try:
        connection = schema.connect_reader(path)
        try:
            for start in range(0, len(seqs), _PAGE):
                yield from _page(connection, seqs[start : start + _PAGE])
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise schema.explain(error, f"read ledger {path}") from error


def _page(connection: sqlite3.Connection, seqs: Sequence[int]) -> Iterator[tuple[bytes, AnyRecord]]:
    marks = ", ".join("?" * len(seqs))
    found = {row.seq: row for row in rows.select(connection, f"WHERE seq IN ({marks})", seqs)}
    for seq in seqs:
        row = found.get(seq)
        if row is None:
            raise rows.damaged(seq, "it is missing")
        yield row.record, row.decode_any()

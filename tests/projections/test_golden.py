"""The projections of the ledgers of every released schema version are kept, and never change by accident.

After a change that is meant, raise ``tables.VERSION`` and run ``python -m tests.projections.test_golden``.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger import rows, schema
from ledger.codec import decode
from ledger.reader import LedgerReader
from projections.projector import Projector

GOLDEN = Path(__file__).parent.parent / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.glob("v*"))


def projected(version: str, directory: Path) -> str:
    """The projections of a golden ledger."""
    path = directory / schema.LEDGER_FILE
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.lay_out(connection)
        for line in (GOLDEN / version / "ledger.jsonl").read_bytes().splitlines():
            rows.insert(connection, rows.Row.of(decode(line)))
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(directory) as reader, closing(projector):
        projector.catch_up(reader)
        return projector.dump()


def test_there_is_a_golden_ledger() -> None:
    assert VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_the_projections_of_a_golden_ledger_are_the_golden_ones(version: str, tmp_path: Path) -> None:
    assert projected(version, tmp_path) == (GOLDEN / version / "projections.jsonl").read_text()


if __name__ == "__main__":
    import tempfile

    for each in VERSIONS:
        with tempfile.TemporaryDirectory() as name:
            (GOLDEN / each / "projections.jsonl").write_text(projected(each, Path(name)))

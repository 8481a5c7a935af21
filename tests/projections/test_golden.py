"""The projections of the ledgers of every released schema version are kept, and never change by accident.

After a change that is meant, raise ``tables.VERSION`` and run ``python -m tests.projections.test_golden``.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger import rows, schema
from ledger.codec import decode
from ledger.reader import LedgerReader
from projections import records
from projections.projector import Projector

GOLDEN = Path(__file__).parent.parent / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.glob("v*"))


def projected(version: str, directory: Path) -> str:
    """The projections of a golden ledger, and its log in words, which is made when it is asked for."""
    path = directory / schema.LEDGER_FILE
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.lay_out(connection)
        for line in (GOLDEN / version / "ledger.jsonl").read_bytes().splitlines():
            rows.insert(connection, rows.Row.of(decode(line)))
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(directory) as reader, closing(projector):
        projector.catch_up(reader)
        log = records.log(reader, projector.database.conn, records.LogScope())
        spelt = [json.dumps({"table": "log", **row}, separators=(",", ":"), ensure_ascii=False) for row in log]
        lines = [*projector.dump().splitlines(), *spelt]
        return "".join(f"{line}\n" for line in sorted(lines, key=lambda line: str(json.loads(line)["table"])))


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

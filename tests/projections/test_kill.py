"""A process that is killed while it makes the projections from nothing leaves what was there before, or nothing."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.reader import LedgerReader
from projections import tables
from projections.projector import Projector, open_projector, projections_path
from tests.ledger.bulk import grow

#: With so little memory that most of what it writes is in the file before it commits.
CHILD = """
import sys
from pathlib import Path
from ledger.reader import LedgerReader
from projections import projector
projector._CACHE = "PRAGMA cache_size = -200"
with LedgerReader.open(Path(sys.argv[1])) as reader, projector.open_projector(reader):
    pass
"""
WAIT_S = 60.0


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of some thousand records."""
    return grow(tmp_path_factory.mktemp("site"), 8000).ledger


@pytest.fixture(scope="module")
def wanted(ledger: Path) -> str:
    """The projections, made in one go."""
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(ledger) as reader, closing(projector):
        projector.catch_up(reader)
        return projector.dump()


@pytest.fixture
def path(ledger: Path) -> Iterator[Path]:
    """Where the projections will be."""
    with LedgerReader.open(ledger) as reader:
        found = projections_path(reader)
    yield found
    found.unlink(missing_ok=True)


def kill_when(grown: Path, size: int, ledger: Path) -> None:
    """Make the projections in a process of its own, and kill that once the file ``grown`` is of ``size`` bytes."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(ledger)]) as process:
        until = time.monotonic() + WAIT_S
        while not grown.exists() or grown.stat().st_size < size:
            assert process.poll() is None, "it was done before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL


def content(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute("SELECT name FROM sqlite_master").fetchall()


def test_killed_on_an_empty_file_it_leaves_an_empty_file(ledger: Path, wanted: str, path: Path) -> None:
    kill_when(path, 300_000, ledger)
    assert path.stat().st_size >= 300_000
    assert content(path) == []
    with LedgerReader.open(ledger) as reader, open_projector(reader) as again:
        assert again.dump() == wanted


def test_killed_over_tables_of_another_version_it_leaves_those(ledger: Path, wanted: str, path: Path) -> None:
    with LedgerReader.open(ledger) as reader, open_projector(reader) as before:
        before.database.conn.execute(f"PRAGMA user_version = {tables.VERSION - 1}")
    kill_when(path.with_name(f"{path.name}-journal"), 300_000, ledger)
    with closing(Projector(sqlite3.connect(path, isolation_level=None))) as left:
        assert left.dump() == wanted
        assert left.database.conn.execute("PRAGMA user_version").fetchone()[0] == tables.VERSION - 1
    with LedgerReader.open(ledger) as reader, open_projector(reader) as again:
        assert again.dump() == wanted

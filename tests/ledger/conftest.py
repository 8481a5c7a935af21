"""What several files here begin with."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from ledger import pages, ranges
from ledger.sums import Sums


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four records to a page, and a range for each page, all in this process."""

    def share(
        connection: sqlite3.Connection, _path: Path, parts: Sequence[ranges.Range], wanted: frozenset[int]
    ) -> tuple[str, list[Sums]]:
        assert len(parts) > 1
        return pages.check(connection), [ranges.recount(connection, part, wanted) for part in parts]

    for name, value in {"growth.PAGE_LEVEL": 2, "growth.PAGE": 4, "ranges.PAGE": 4, "ranges.WORTHWHILE": 4}.items():
        monkeypatch.setattr(f"ledger.{name}", value)
    monkeypatch.setattr("ledger.ranges.share", share)
    monkeypatch.setattr("ledger.ranges.cores", lambda: 100)

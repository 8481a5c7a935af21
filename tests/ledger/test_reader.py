"""The ledger as others see it: beside a running engine, after it, on a copy, on a read-only disk."""

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.codec import RawRecord
from ledger.errors import LedgerDamaged, LedgerUnusable
from ledger.lifecycle import State
from ledger.reader import LedgerReader
from tests.ledger.attacks import forge, tamper
from tests.ledger.fakes import TX, begun, create, reopen, started, succeeded, whole_unwinding, whole_upgrade


def seqs(reader: LedgerReader, **filters: object) -> list[int]:
    return [record.seq for record in reader.records(**filters)]  # type: ignore[arg-type]


def test_a_reader_sees_each_append_of_a_running_engine(tmp_path: Path) -> None:
    with create(tmp_path) as writer, LedgerReader.open(tmp_path) as reader:
        for expected, event in enumerate(whole_upgrade(), 2):
            writer.append(TX, event)
            assert reader.last_seq() == expected
            assert seqs(reader) == list(range(1, expected + 1))
        assert reader.settled("jail:web") == {"release": "base@aaaa0001"}


def test_a_reader_in_another_process_sees_them_too(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from ledger.reader import LedgerReader
        with LedgerReader.open(Path(sys.argv[1])) as reader:
            for line in sys.stdin:
                print(reader.last_seq(), reader.verify().records, flush=True)
        """
    )
    with create(tmp_path) as writer:
        command = [sys.executable, "-c", code, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            assert process.stdin is not None and process.stdout is not None
            for expected, event in enumerate(whole_upgrade(), 2):
                writer.append(TX, event)
                process.stdin.write("look\n")
                assert process.stdout.readline().split() == [str(expected), str(expected)]
            process.stdin.close()


def test_a_reader_outlives_the_engine_and_meets_the_next(tmp_path: Path) -> None:
    writer = create(tmp_path)
    with LedgerReader.open(tmp_path) as reader:
        writer.append(TX, begun())
        writer.close()
        assert reader.last_seq() == 2
        with reopen(tmp_path) as writer:
            writer.append(TX, started(1))
            assert reader.last_seq() == 3


def test_a_reader_never_changes_the_file(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, *whole_upgrade())
    before = (tmp_path / "ledger.db").read_bytes()
    with LedgerReader.open(tmp_path) as reader:
        assert reader.verify().records == 7
        assert len(list(reader.records())) == 7
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM targets")
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_a_half_read_listing_holds_nothing_up(tmp_path: Path) -> None:
    with create(tmp_path) as writer, LedgerReader.open(tmp_path) as reader:
        writer.append(TX, *whole_upgrade())
        listing = reader.records()
        next(listing)
        busy, _, _ = writer._store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy
        assert (tmp_path / "ledger.db-wal").stat().st_size == 0
        assert next(listing).seq == 2


def test_a_copy_of_a_closed_ledger_is_whole(tmp_path: Path) -> None:
    with create(tmp_path / "ledger") as writer:
        writer.append(TX, *whole_upgrade())
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "ledger" / "ledger.db", tmp_path / "copy")
    with LedgerReader.open(tmp_path / "copy") as reader:
        assert reader.verify().records == 7


def test_a_copy_of_a_live_ledger_is_whole_with_its_log(tmp_path: Path) -> None:
    with create(tmp_path / "ledger") as writer:
        writer.append(TX, *whole_upgrade())
        shutil.copytree(tmp_path / "ledger", tmp_path / "copy")
    with LedgerReader.open(tmp_path / "copy") as reader:
        assert reader.verify().records == 7


@pytest.fixture
def seven(tmp_path: Path) -> Iterator[LedgerReader]:
    """Records 1 to 14: the creation, an upgrade (2-7) of web, and an unwinding (8-14) of db."""
    with create(tmp_path) as writer:
        writer.append("aaaa0001", *whole_upgrade())
        writer.append("aaab0002", *whole_unwinding("jail:db"))
    with LedgerReader.open(tmp_path) as reader:
        yield reader


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, range(1, 15)),
        ({"after": 12}, (13, 14)),
        ({"until": 2}, (1, 2)),
        ({"after": 3, "until": 5}, (4, 5)),
        ({"limit": 2}, (1, 2)),
        ({"limit": 0}, ()),
        ({"newest_first": True, "limit": 3}, (14, 13, 12)),
        ({"newest_first": True, "after": 12}, (14, 13)),
        ({"newest_first": True, "until": 2}, (2, 1)),
        ({"transaction": "aaaa0001"}, range(2, 8)),
        ({"target": "jail:db"}, range(8, 15)),
        ({"target": "jail:db", "after": 12, "newest_first": True}, (14, 13)),
        ({"transaction": "zzzz0001"}, ()),
    ],
)
def test_records_are_picked(seven: LedgerReader, filters: dict[str, object], expected: Iterator[int]) -> None:
    assert seqs(seven, **filters) == list(expected)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [None, 1, 2, 3, 4, 13, 14, 15])
def test_the_size_of_a_page_does_not_show(
    seven: LedgerReader, monkeypatch: pytest.MonkeyPatch, limit: int | None, newest_first: bool
) -> None:
    monkeypatch.setattr("ledger.reader._PAGE", 3)
    expected = list(range(14, 0, -1) if newest_first else range(1, 15))
    assert seqs(seven, limit=limit, newest_first=newest_first) == expected[:limit]


def test_transactions_are_listed_newest_first(seven: LedgerReader, tmp_path: Path) -> None:
    with reopen(tmp_path) as writer:
        writer.append("bbbb0003", begun("jail:db"), started(1))
        writer.append("bbbb0004", begun("jail:aa"))
    rows = seven.transactions()
    assert [row.transaction for row in rows] == ["bbbb0004", "bbbb0003", "aaab0002", "aaaa0001"]
    assert [row.transaction for row in seven.transactions(limit=1)] == ["bbbb0004"]
    assert [row.transaction for row in seven.transactions(open_only=True)] == ["bbbb0004", "bbbb0003"]
    assert [row.transaction for row in seven.transactions(open_only=True, limit=1)] == ["bbbb0004"]
    assert [row.transaction for row in seven.transactions(state=State.ROLLED_BACK)] == ["aaab0002"]
    assert (rows[1].begun_seq, rows[1].last_seq, rows[1].state) == (15, 16, State.FORWARD)
    assert (rows[1].reason, rows[1].ticket, rows[1].approval) == ("CVE-2026-1", "OPS-7", None)


def test_a_transaction_is_found_by_the_start_of_its_name(seven: LedgerReader) -> None:
    assert [row.transaction for row in seven.find_transactions("aaa")] == ["aaaa0001", "aaab0002"]
    assert [row.transaction for row in seven.find_transactions("aaab0002")] == ["aaab0002"]
    assert [row.transaction for row in seven.find_transactions("b")] == []
    assert [row.transaction for row in seven.find_transactions("%")] == []


def test_a_newer_event_is_shown_as_it_is(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun(), started(1))
    forge(tmp_path, {"type": "step.imagined", "event": {"type": "step.imagined", "dream": 1}})
    with LedgerReader.open(tmp_path) as reader:
        *_, last = reader.records()
        assert isinstance(last, RawRecord)
        assert (last.type, last.event["dream"], last.engine_version, last.target) == (
            "step.imagined",
            1,
            "9.0",
            "jail:web",
        )
        report = reader.verify()
        assert (report.records, report.unknown) == (4, 1)


def test_a_damaged_record_is_not_shown(seven: LedgerReader, tmp_path: Path) -> None:
    tamper(tmp_path, "UPDATE events SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 5")
    shown = []
    with pytest.raises(LedgerDamaged, match="record 5: column at"):
        for record in seven.records():
            shown.append(record.seq)
    assert shown == [1, 2, 3, 4]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that can be mounted read-only."""
    where = tmp_path / "disk"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(where)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def test_a_closed_ledger_is_read_from_a_read_only_file_system(disk: Path) -> None:
    with create(disk / "ledger") as writer:
        writer.append(TX, *whole_upgrade())
    remount(disk, "ro")
    with LedgerReader.open(disk / "ledger") as reader:
        assert reader.verify().records == 7


def test_a_ledger_with_a_live_log_is_refused_on_a_read_only_file_system(disk: Path, tmp_path: Path) -> None:
    with create(tmp_path / "live") as writer:
        writer.append(TX, *whole_upgrade())
        shutil.copytree(tmp_path / "live", disk / "ledger")
    remount(disk, "ro")
    with pytest.raises(LedgerUnusable, match=r"read-only and ledger\.db-wal holds records") as caught:
        LedgerReader.open(disk / "ledger")
    assert "copy the ledger" in caught.value.remedy
    shutil.copytree(disk / "ledger", tmp_path / "copy")
    with LedgerReader.open(tmp_path / "copy") as reader:
        assert reader.last_seq() == 7


def test_no_engine_starts_on_a_read_only_file_system(disk: Path) -> None:
    create(disk / "ledger").close()
    remount(disk, "ro")
    for attempt, where in ((reopen, "ledger"), (create, "ledger"), (create, "other")):
        with pytest.raises(LedgerUnusable) as caught:
            attempt(disk / where)
        assert "mounted read-write" in caught.value.remedy


def test_an_engine_whose_disk_turns_read_only_says_so_and_goes_on_later(disk: Path) -> None:
    with create(disk / "ledger") as writer:
        writer.append(TX, begun(), started(1))
        # What the kernel does to a file system with errors; a plain remount is refused while files are open to write.
        subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
            with pytest.raises(LedgerUnusable, match="is read-only"):
                writer.require_space(1)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        writer.append(TX, succeeded(1))

"""What protects the file: triggers, constraints, and what is refused at open."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import schema
from ledger.errors import LedgerDamaged, LedgerMissing, LedgerNewer, LedgerUnusable
from ledger.reader import LedgerReader
from tests.ledger.fakes import TX, begun, create, reopen, started, whole_upgrade


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A plain connection to a closed ledger with seven records: what an attacker or a stray tool has."""
    with create(tmp_path / "ledger") as writer:
        writer.append(TX, *whole_upgrade())
    connection = sqlite3.connect(tmp_path / "ledger" / "ledger.db", isolation_level=None)
    yield connection
    connection.close()


COLUMNS = "seq, event_id, stream, version, transaction_id, target, type, schema_version, at, hash, subtrees, record"
SAME = {name: name for name in COLUMNS.split(", ")}
NEW = {"seq": "100", "event_id": "'new'", "stream": "'new'", "version": "100"}


def copy_of_record_2(**values: str) -> str:
    return f"SELECT {', '.join({**SAME, **NEW, **values}.values())} FROM events WHERE seq = 2"


def test_a_record_cannot_be_updated(raw: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only: a record is never changed"):
        raw.execute("UPDATE events SET target = 'jail:db' WHERE seq = 2")


@pytest.mark.parametrize("where", ["", "WHERE seq = 7"])
def test_a_record_cannot_be_deleted(raw: sqlite3.Connection, where: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only: a record is never removed"):
        raw.execute(f"DELETE FROM events {where}")
    assert raw.execute("SELECT count(*) FROM events").fetchone() == (7,)


@pytest.mark.parametrize(
    "values",
    [{"seq": "3"}, {"stream": f"'{TX}'", "version": "2"}, {"event_id": "event_id"}],
    ids=["by its place", "by its place in the stream", "by its event id"],
)
@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE", "INSERT"])
@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_a_record_cannot_be_replaced(
    raw: sqlite3.Connection, verb: str, values: dict[str, str], recursive: str
) -> None:
    raw.execute(f"PRAGMA recursive_triggers = {recursive}")
    before = raw.execute("SELECT * FROM events").fetchall()
    with pytest.raises(sqlite3.IntegrityError, match="append-only: a record is never replaced"):
        raw.execute(f"{verb} INTO events ({COLUMNS}) {copy_of_record_2(**values)}")
    assert raw.execute("SELECT * FROM events").fetchall() == before


def test_the_guard_lets_a_new_record_in(raw: sqlite3.Connection) -> None:
    raw.execute(f"INSERT INTO events ({COLUMNS}) {copy_of_record_2()}")
    assert raw.execute("SELECT count(*) FROM events").fetchone() == (8,)


def test_two_open_transactions_on_one_target_cannot_be_stored(raw: sqlite3.Connection) -> None:
    insert = "INSERT INTO transactions VALUES (?, 'upgrade', 'jail:web', ?, ?, 9, NULL, NULL, NULL)"
    raw.execute(insert, ("bbbb0001", "stuck", 100))
    raw.execute(insert, ("bbbb0002", "committed", 101))
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        raw.execute(insert, ("bbbb0003", "unwinding", 102))


def test_a_column_of_the_wrong_type_cannot_be_stored(raw: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in INTEGER column"):
        raw.execute(f"INSERT INTO events ({COLUMNS}) {copy_of_record_2(version=repr('x'))}")


@pytest.mark.parametrize("trigger", [name for name, sql in schema.OBJECTS.items() if "TRIGGER" in sql])
def test_a_dropped_trigger_is_noticed_at_open_and_by_verify(
    raw: sqlite3.Connection, tmp_path: Path, trigger: str
) -> None:
    raw.execute(f"DROP TRIGGER {trigger}")
    with pytest.raises(LedgerDamaged, match=f"trigger {trigger} is missing"):
        reopen(tmp_path / "ledger")
    with LedgerReader.open(tmp_path / "ledger") as reader, pytest.raises(LedgerDamaged, match="is missing"):
        reader.verify()


def test_a_weakened_trigger_is_noticed(raw: sqlite3.Connection, tmp_path: Path) -> None:
    raw.execute("DROP TRIGGER events_refuse_update")
    raw.execute("CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events BEGIN SELECT 1; END")
    with pytest.raises(LedgerDamaged, match="trigger events_refuse_update was changed"):
        reopen(tmp_path / "ledger")


def test_a_foreign_trigger_is_noticed(raw: sqlite3.Connection, tmp_path: Path) -> None:
    raw.execute("CREATE TRIGGER helpful AFTER INSERT ON events BEGIN DELETE FROM targets; END")
    with pytest.raises(LedgerDamaged, match="trigger helpful is not ours"):
        reopen(tmp_path / "ledger")


def test_a_dropped_index_is_noticed(raw: sqlite3.Connection, tmp_path: Path) -> None:
    raw.execute("DROP INDEX open_transactions")
    with pytest.raises(LedgerDamaged, match="index open_transactions is missing"):
        reopen(tmp_path / "ledger")


def test_an_open_transaction_is_found_through_its_index_alone(raw: sqlite3.Connection) -> None:
    condition = "state IN ('forward', 'unwinding', 'stuck')"
    sql = f"SELECT * FROM transactions INDEXED BY open_transactions WHERE {condition}"
    plan = raw.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
    assert "USING INDEX open_transactions" in plan[0][3]


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with create(tmp_path / "a" / "ledger") as writer:
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in writer.path.parent.iterdir()}
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a" / "ledger").stat().st_mode) == 0o700
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600, "lock": 0o600}


def test_a_missing_ledger_is_refused_with_its_remedy(tmp_path: Path) -> None:
    for opener in (reopen, LedgerReader.open):
        for directory in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(LedgerMissing, match="there is none") as caught:
                opener(directory)
            assert caught.value.remedy.startswith("run `rootswap init`; if there was one")
    assert list(tmp_path.iterdir()) == [], "looking for a ledger leaves nothing behind"


@pytest.mark.parametrize("content", [b"SQLite format 3\0 but then something else" * 200, b"hello, world\n" * 1000])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db").write_bytes(content)
    for opener in (reopen, LedgerReader.open):
        with pytest.raises(LedgerDamaged) as caught:
            opener(tmp_path)
        assert caught.value.remedy
    assert (tmp_path / "ledger.db").read_bytes() == content


@pytest.mark.parametrize("content", [b"", None], ids=["empty file", "other database"])
def test_a_database_that_is_no_ledger_is_refused_and_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ledger.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE places (url TEXT)")
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    for opener in (reopen, LedgerReader.open):
        with pytest.raises(LedgerDamaged, match="not a ledger"):
            opener(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    with create(tmp_path) as writer:
        for number in range(20):
            writer.append(f"aaaa00{number:02}", *whole_upgrade())
    size = (tmp_path / "ledger.db").stat().st_size
    os.truncate(tmp_path / "ledger.db", int(size * keep))
    with pytest.raises(LedgerDamaged):
        reopen(tmp_path)
    with pytest.raises(LedgerDamaged), LedgerReader.open(tmp_path) as reader:
        reader.verify()


def test_a_newer_schema_is_refused(raw: sqlite3.Connection, tmp_path: Path) -> None:
    raw.execute("PRAGMA user_version = 2")
    for opener in (reopen, LedgerReader.open):
        with pytest.raises(LedgerNewer, match="it has schema 2, known up to 1"):
            opener(tmp_path / "ledger")


def test_an_old_sqlite_is_refused() -> None:
    with pytest.raises(LedgerUnusable, match=r"SQLite 3\.36\.0 has no STRICT tables"):
        schema.require_sqlite((3, 36, 0))
    schema.require_sqlite((3, 37, 0))


@pytest.mark.parametrize(("version", "is_refused"), [("3.39.1", True), ("4.1", True), ("4.2", False), ("5.0", False)])
def test_an_old_sqlite_utils_is_refused(version: str, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(LedgerUnusable, match="commits behind our back"):
            schema.require_sqlite_utils(version)
    else:
        schema.require_sqlite_utils(version)


def test_creating_twice_is_creating_once(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun(), started(1))
    with create(tmp_path) as writer:
        assert [record.type for record in writer.records(TX)] == ["transaction.begun", "step.started"]


def test_a_creation_that_was_killed_is_made_good(tmp_path: Path) -> None:
    for name in ("ledger.db.new", "ledger.db.new-wal", "ledger.db.new-shm", "ledger.db.new-journal"):
        (tmp_path / name).write_bytes(b"half a ledger")
    with pytest.raises(LedgerMissing):
        reopen(tmp_path)
    create(tmp_path).close()
    with LedgerReader.open(tmp_path) as reader:
        assert reader.verify().records == 1
    assert not list(tmp_path.glob("*.new*"))


def test_the_log_of_a_lost_ledger_does_not_become_part_of_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "ledger.db-wal").write_bytes(b"frames of another ledger")
    with pytest.raises(LedgerDamaged, match=r"ledger\.db-wal is left of an earlier one"):
        create(tmp_path)
    assert not (tmp_path / "ledger.db").exists()


def test_the_reader_imports_neither_sqlite_utils_nor_the_writer() -> None:
    code = "import sys, ledger.reader; print([m for m in sys.modules if m in ('sqlite_utils', 'ledger.writer')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

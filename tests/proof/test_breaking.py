"""Everything that can be changed in the file is changed, one thing at a time: verify finds it, or nobody can see it."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from ledger import schema
from ledger.errors import LedgerDamaged, LedgerNewer, LedgerUnusable
from ledger.reader import LedgerReader
from tests.ledger.attacks import tamper
from tests.ledger.fakes import whole_upgrade
from tests.proof.site import Site, filled

#: What nothing vouches for: when a seal was made.
UNPROVED = {("seals", "at")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return filled(tmp_path_factory.mktemp("whole"), tail=2)


@pytest.fixture
def site(whole: Site, fast_directory: Path) -> Site:
    shutil.copytree(whole.base, fast_directory / "copy")
    return Site(fast_directory / "copy")


def verify(site: Site) -> None:
    site.verify(every_signature=True)


def cells(site: Site) -> list[tuple[str, str, str]]:
    """Table, column and key of each cell."""
    connection = sqlite3.connect(site.ledger / schema.LEDGER_FILE)
    found = []
    for table, key in (("events", "seq"), ("seals", "size"), ("transactions", "transaction_id"), ("targets", "target")):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        keys = [row[0] for row in connection.execute(f"SELECT quote({key}) FROM {table}")]
        found += [(table, column, f"{key} = {value}") for column in columns for value in keys]
    connection.close()
    return found


#: Another value of the same kind, as small a change as there is.
OTHER = """CASE typeof({0}) WHEN 'integer' THEN {0} + 1000 WHEN 'blob' THEN CAST(CAST({0} AS TEXT) || 'x' AS BLOB)
WHEN 'null' THEN 'x' ELSE {0} || 'x' END"""


def test_no_cell_of_any_table_can_be_changed(whole: Site, fast_directory: Path) -> None:
    changed = 0
    for number, (table, column, key) in enumerate(cells(whole)):
        if (table, column) in UNPROVED:
            continue
        copy = Site(fast_directory / str(number))
        shutil.copytree(whole.base, copy.base)
        new = OTHER.format(column)
        if (table, column) in {("events", "hash"), ("events", "subtrees")}:
            new = f"CASE length({column}) WHEN 0 THEN zeroblob(32) ELSE zeroblob(length({column})) END"
        tamper(copy.ledger, f"UPDATE {table} SET {column} = {new} WHERE {key}")
        with pytest.raises(LedgerDamaged):
            verify(copy)
            pytest.fail(f"{table}.{column} where {key} was changed unseen")
        shutil.rmtree(copy.base)
        changed += 1
    assert changed > 200


ROWS = {
    "a record more": """INSERT INTO events SELECT 17, 'x', stream, 3, transaction_id, target, type, schema_version, at,
        hash, x'', record FROM events WHERE seq = 16""",
    "a seal more": "INSERT INTO seals SELECT 15, checkpoint, signature, at FROM seals WHERE size = 14",
    "an old seal more": "INSERT INTO seals SELECT 3, checkpoint, signature, at FROM seals WHERE size = 7",
    "a seal of the future": "INSERT INTO seals SELECT 99, checkpoint, signature, at FROM seals WHERE size = 14",
    "a transaction more": """INSERT INTO transactions VALUES ('zzzz0001', 'upgrade', 'jail:x', 'committed', 9, 9, NULL,
        NULL, NULL)""",
    "a target more": "INSERT INTO targets VALUES ('jail:x', '{}', 'aaaa0001', 7)",
    "a target less": "DELETE FROM targets WHERE target = 'jail:web'",
    "a transaction less": "DELETE FROM transactions WHERE transaction_id = 'aaaa0002'",
    "the last seal less": "DELETE FROM seals WHERE size = 7",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ROWS if name != "the last seal less"])
def test_a_row_more_or_less_is_found(site: Site, name: str) -> None:
    tamper(site.ledger, ROWS[name])
    with pytest.raises(LedgerDamaged):
        verify(site)


def test_a_seal_that_was_removed_is_found_by_whoever_kept_it_elsewhere_or_not_at_all(site: Site) -> None:
    """A later seal covers all that it did: nothing about the records is lost with it."""
    tamper(site.ledger, ROWS["the last seal less"])
    verify(site)


SCHEMA = {
    "an index dropped": "DROP INDEX events_by_target",
    "the index of what is open dropped": "DROP INDEX open_transactions",
    "the index of keys dropped": "DROP INDEX events_with_keys",
    "a foreign trigger": "CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM seals; END",
    "a foreign temporary-looking trigger": "CREATE TRIGGER sealed AFTER INSERT ON seals BEGIN DELETE FROM targets; END",
    "a foreign view": "CREATE VIEW v AS SELECT * FROM events",
    "a foreign table": "CREATE TABLE t (a)",
    "a foreign index": "CREATE INDEX i ON events (at)",
    "a foreign unique index": "CREATE UNIQUE INDEX i ON events (at, seq)",
    "a column more": "ALTER TABLE events ADD COLUMN note TEXT",
    "a table renamed": "ALTER TABLE targets RENAME TO goals",
    "another identity": "PRAGMA application_id = 7",
    "a newer schema": "PRAGMA user_version = 99",
}


@pytest.mark.parametrize("statement", SCHEMA.values(), ids=SCHEMA.keys())
def test_a_change_of_the_schema_is_found(site: Site, statement: str) -> None:
    connection = sqlite3.connect(site.ledger / schema.LEDGER_FILE, isolation_level=None)
    connection.execute(statement)
    connection.close()
    with pytest.raises((LedgerDamaged, LedgerNewer)):
        verify(site)


WRITABLE_SCHEMA = {
    "a guard that guards nothing": """UPDATE sqlite_schema SET sql = replace(sql, 'ABORT', 'IGNORE')
        WHERE name = 'events_refuse_update'""",
    "a check taken out": "UPDATE sqlite_schema SET sql = replace(sql, ' CHECK (seq > 0)', '') WHERE name = 'events'",
    "an index that points to another": """UPDATE sqlite_schema SET rootpage =
        (SELECT rootpage FROM sqlite_schema WHERE name = 'events_with_keys') WHERE name = 'events_by_target'""",
    "an index taken out": "DELETE FROM sqlite_schema WHERE name = 'open_transactions'",
    "an automatic index taken out": "DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_events_1'",
    "two tables exchanged": """UPDATE sqlite_schema SET rootpage = CASE name WHEN 'targets' THEN
        (SELECT rootpage FROM sqlite_schema WHERE name = 'transactions') ELSE
        (SELECT rootpage FROM sqlite_schema WHERE name = 'targets') END WHERE name IN ('targets', 'transactions')""",
}  # fmt: skip


@pytest.mark.parametrize("statement", WRITABLE_SCHEMA.values(), ids=WRITABLE_SCHEMA.keys())
def test_an_edit_of_sqlite_schema_is_found(site: Site, statement: str) -> None:
    connection = sqlite3.connect(site.ledger / schema.LEDGER_FILE, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(statement)
    connection.close()
    with pytest.raises((LedgerDamaged, LedgerUnusable)):
        verify(site)


def test_an_index_that_lacks_a_record_is_found(site: Site) -> None:
    """The rows are all there, but whoever asks by the target would miss one."""
    connection = sqlite3.connect(site.ledger / schema.LEDGER_FILE, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    whole = schema.OBJECTS["events_by_target"]
    partial = f"{whole} WHERE seq <> 9"
    connection.execute("DROP INDEX events_by_target")
    connection.execute(partial)
    connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'events_by_target'", (whole,))
    connection.close()
    with pytest.raises(LedgerDamaged, match="missing from index events_by_target"):
        verify(site)


def test_a_log_that_was_cut_is_found(fast_directory: Path) -> None:
    """The last commit was in the write-ahead log alone; another file remembers that it was signed."""
    site = filled(fast_directory)
    with site.open() as (writer, sealer):
        writer.append("aaaa0009", *whole_upgrade("jail:db"))
        kept = sealer.seal().seal
        shutil.copytree(site.ledger, fast_directory / "live")
    assert kept is not None
    live = Site(fast_directory)
    shutil.rmtree(site.ledger)
    (fast_directory / "live").rename(site.ledger)
    log = site.ledger / "ledger.db-wal"
    assert log.stat().st_size > 0
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    (site.ledger / "ledger.db-shm").unlink()
    with pytest.raises(LedgerDamaged):
        live.verify(checkpoints=(kept.checkpoint,))
    with LedgerReader.open(site.ledger) as reader:
        assert reader.last_seq() < kept.checkpoint.size, "the test has cut nothing"

"""Projections follow the ledger, whichever way they get there."""

import os
import random
import shutil
import sqlite3
import stat
import tempfile
import threading
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import Record
from ledger.events import TransactionEvent
from ledger.lifecycle import TransactionStatus, apply
from ledger.plain import PlainRecord
from ledger.reader import LedgerReader
from projections import projector as module
from projections import queries, tables
from projections.batch import Batch
from projections.current_state import settled_of
from projections.history import Story, tell
from projections.projector import Projector, open_projector, projections_path
from tests.ledger.attacks import forge
from tests.ledger.fakes import TX, create, started, succeeded, whole_upgrade
from tests.projections.histories import log_of, splits, write

SHM = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
histories = given(chance=st.randoms(use_true_random=False), count=st.integers(0, 90))


def in_memory() -> Projector:
    return Projector(sqlite3.connect(":memory:", isolation_level=None))


def dump_of(reader: LedgerReader) -> str:
    with closing(in_memory()) as projector:
        projector.catch_up(reader)
        return projector.dump()


def schema_of(projector: Projector) -> list[tuple[str, str | None]]:
    return projector.database.conn.execute("SELECT name, sql FROM sqlite_master ORDER BY rowid").fetchall()


@histories
@settings(max_examples=40, deadline=None)
def test_built_piece_by_piece_it_is_what_it_is_built_at_once(chance: random.Random, count: int) -> None:
    with tempfile.TemporaryDirectory(dir=SHM) as name:
        write(Path(name), chance, count)
        with LedgerReader.open(Path(name)) as reader, closing(in_memory()) as projector:
            for until in splits(chance, reader.last_seq()):
                projector.catch_up(reader, until=until, page=chance.randrange(1, 9))
            assert projector.catch_up(reader) == reader.last_seq()
            assert projector.dump() == dump_of(reader)
            with closing(in_memory()) as at_once:
                at_once.catch_up(reader)
                assert schema_of(projector) == schema_of(at_once)


@histories
@settings(max_examples=40, deadline=None)
def test_every_story_is_at_each_record_where_the_lifecycle_is(chance: random.Random, count: int) -> None:
    with tempfile.TemporaryDirectory(dir=SHM) as name:
        write(Path(name), chance, count)
        with LedgerReader.open(Path(name)) as reader:
            for row in reader.transactions():
                _compare_with_lifecycle(reader, row.transaction)


def _compare_with_lifecycle(reader: LedgerReader, transaction: str) -> None:
    story: Story | None = None
    status: TransactionStatus | None = None
    for record in reader.records(transaction=transaction):
        assert isinstance(record, Record)
        assert isinstance(record.event, TransactionEvent)
        story, status = tell(story, record), apply(status, record.event)
        assert story is not None
        assert (story.line.state, story.line.is_open) == (status.state, status.is_open)
        assert story.line.cause == status.cause
        assert tuple(step.state for step in story.steps) == status.steps
        assert tuple(step.attempt for step in story.steps) == status.attempts


@histories
@settings(max_examples=40, deadline=None)
def test_the_ledger_and_the_projections_give_the_same_answers(chance: random.Random, count: int) -> None:
    with tempfile.TemporaryDirectory(dir=SHM) as name:
        write(Path(name), chance, count)
        with LedgerReader.open(Path(name)) as reader, closing(in_memory()) as projector:
            projector.catch_up(reader)
            assert queries.all_transactions(projector) == queries.recent_transactions(reader)
            assert queries.all_transactions(projector, target="jail:web", limit=2) == queries.recent_transactions(
                reader, target="jail:web", limit=2
            )
            kept = {target: settled_of(stored) for target, stored in reader.settled_targets().items()}
            lines = [line for kind in ("jail", "template") for line in queries.all_targets(projector, kind).values()]
            assert {line.target: line.settled for line in lines} == kept
            for kind in ("jail", "template"):
                assert queries.current_targets(reader, kind) == queries.all_targets(projector, kind)


def test_records_of_a_newer_version_are_shown_and_do_not_stop_the_rest(tmp_path: Path) -> None:
    with create(tmp_path) as ledger:
        ledger.append(TX, *whole_upgrade()[:2])
    fact = {"fact": "slot-polished", "before": "dull", "after": "shiny"}
    event = {"type": "step.succeeded", "step": 1, "kind": "StopJail", "attempt": 1, "fact": fact, "duration_ns": 7}
    forge(
        tmp_path,
        {"type": "step.succeeded", "event": event},
        {"type": "moon.observed", "event": {"type": "moon.observed", "phase": "full"}},
        {"type": "step.started", "event": {**started(2).model_dump(mode="json")}},
    )
    with LedgerReader.open(tmp_path) as reader, closing(in_memory()) as projector:
        projector.catch_up(reader)
        story = tables.find_story(projector.database, TX)
        assert story is not None
        assert story.line.newer_events == 2
        assert [step.state for step in story.steps] == ["succeeded", "started"]
        assert (story.steps[0].before, story.steps[0].after) == ("dull", "shiny")
        moon = log_of(reader, projector, transaction=TX)[-2]
        assert (moon.type, moon.what, moon.detail) == ("moon.observed", "moon observed", "written by rootswap 9.0")


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A ledger directory with one upgrade."""
    found = tmp_path / "state" / "ledger"
    with create(found) as ledger:
        ledger.append(TX, *whole_upgrade())
    return found


def test_the_file_is_ours_alone_and_is_read_on_from_where_it_stands(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LedgerReader.open(directory) as reader:
        with open_projector(reader) as projector:
            first = projector.dump()
        path = projections_path(reader)
        assert path == directory.parent / "projections.db"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        read: list[int] = []
        add = Batch.add

        def count_and_add(self: Batch, record: PlainRecord) -> None:
            read.append(record.seq)
            add(self, record)

        monkeypatch.setattr(Batch, "add", count_and_add)
        with open_projector(reader) as projector:
            assert projector.dump() == first
        assert read == []
    with create(directory) as ledger:
        ledger.append("bbbb0001", *whole_upgrade()[:1])
    with LedgerReader.open(directory) as reader, open_projector(reader) as projector:
        assert len(read) == 1
        assert projector.dump() == dump_of(reader)


def test_a_kill_in_the_middle_of_a_page_leaves_the_page_before(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def put_and_die(self: object, database: object, lines: object) -> None:
        raise Killed

    with LedgerReader.open(directory) as reader:
        path = projections_path(reader)
        with closing(Projector(sqlite3.connect(path, isolation_level=None))) as projector:
            projector.catch_up(reader, until=4)
            before = projector.dump()
            with monkeypatch.context() as patch:
                # Transactions are written by then, steps are not.
                patch.setattr(tables.STEPS, "put_values", put_and_die.__get__(tables.STEPS))
                with pytest.raises(Killed):
                    projector.catch_up(reader)
            assert projector.dump() == before
        with open_projector(reader) as again:
            assert again.dump() == dump_of(reader)


def test_a_kill_while_all_is_made_anew_leaves_what_was_there(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(database: object) -> None:
        raise Killed

    with LedgerReader.open(directory) as reader:
        path = projections_path(reader)
        with closing(Projector(sqlite3.connect(path, isolation_level=None))) as projector:
            with monkeypatch.context() as patch:
                patch.setattr(tables, "lay_out_indexes", die)
                with pytest.raises(Killed):
                    projector.catch_up(reader)
            assert schema_of(projector) == [], "half of it could pass for the whole"
            projector.catch_up(reader)
            projector.database.conn.execute(f"PRAGMA user_version = {tables.VERSION - 1}")
            before = projector.dump()
            with monkeypatch.context() as patch:
                patch.setattr(tables, "lay_out_indexes", die)
                with pytest.raises(Killed):
                    projector.catch_up(reader)
            assert projector.dump() == before
        with open_projector(reader) as again:
            assert again.dump() == dump_of(reader)


@pytest.mark.parametrize("spoil", ["version", "garbage", "truncated", "other ledger", "shorter ledger"])
def test_a_file_that_is_of_no_use_is_built_anew(directory: Path, spoil: str) -> None:
    with LedgerReader.open(directory) as reader, open_projector(reader):
        path = projections_path(reader)
    if spoil == "version":
        connection = sqlite3.connect(path)
        connection.execute("DELETE FROM changes")
        connection.execute(f"PRAGMA user_version = {tables.VERSION + 1}")
        connection.commit()
        connection.close()
    elif spoil == "garbage":
        path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    elif spoil == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        shutil.rmtree(directory)
        with create(directory) as ledger:
            ledger.append("bbbb0001", *(whole_upgrade() if spoil == "other ledger" else whole_upgrade()[:2]))
    with LedgerReader.open(directory) as reader, open_projector(reader) as projector:
        assert projector.dump() == dump_of(reader)
        assert projector.database.conn.execute("PRAGMA database_list").fetchone()[2] == os.fspath(path)


def test_where_the_file_cannot_be_it_is_done_in_memory(directory: Path) -> None:
    path = directory.parent / "projections.db"
    victim = directory.parent / "victim"
    victim.write_text("precious")
    for spoil in (path.mkdir, lambda: path.symlink_to(victim)):
        spoil()
        with LedgerReader.open(directory) as reader, open_projector(reader) as projector:
            assert projector.dump() == dump_of(reader)
            assert projector.database.conn.execute("PRAGMA database_list").fetchone()[2] == ""
        path.rmdir() if path.is_dir() else path.unlink()
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_that_somebody_else_has_made_is_not_believed(directory: Path) -> None:
    with LedgerReader.open(directory) as reader, open_projector(reader):
        path = projections_path(reader)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE transactions SET login = 'mallory'")
    connection.commit()
    connection.close()
    os.chown(path, 65534, 65534)
    with LedgerReader.open(directory) as reader, open_projector(reader) as projector:
        assert projector.dump() == dump_of(reader)


def test_a_file_that_is_locked_for_too_long_is_left_alone(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    with LedgerReader.open(directory) as reader:
        with open_projector(reader):
            pass
        with closing(sqlite3.connect(projections_path(reader), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with open_projector(reader) as projector:
                assert projector.dump() == dump_of(reader)


def test_several_may_catch_up_at_the_same_time(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with create(directory) as ledger:
        for number in range(2, 60):
            ledger.append(f"aaaa{number:04d}", *whole_upgrade())
    dumps: list[str] = []
    files: list[str] = []
    monkeypatch.setattr(module, "PAGE", 20)

    def catch_up() -> None:
        with LedgerReader.open(directory) as reader, open_projector(reader) as projector:
            dumps.append(projector.dump())
            files.append(projector.database.conn.execute("PRAGMA database_list").fetchone()[2])

    threads = [threading.Thread(target=catch_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with LedgerReader.open(directory) as reader:
        assert dumps == [dump_of(reader)] * 4
        assert files == [os.fspath(projections_path(reader))] * 4, "each waited for its turn"


def test_steps_remember_their_last_attempt(directory: Path) -> None:
    with create(directory) as ledger:
        ledger.append("bbbb0001", whole_upgrade()[0], started(1), started(1, attempt=2), succeeded(1, attempt=2))
    with LedgerReader.open(directory) as reader:
        story = queries.story(reader, "bbbb0001")
    assert story is not None
    step = asdict(story.steps[0])
    assert (step["attempt"], step["state"], step["before"], step["after"]) == (2, "succeeded", "running", "stopped")

"""A disk that fails at the worst moment: the writer knows what is in the ledger, or says that it does not."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger.errors import AppendFailed, LedgerUnusable
from ledger.events import RecoveryStarted
from ledger.reader import LedgerReader
from ledger.writer import LedgerWriter
from tests.ledger.fakes import ORIGIN, TX, FakeClock, begun, create, reopen, started, succeeded


class Disk:
    """Opens connections that fail on demand: ``before`` or ``after`` the real statement, once."""

    def __init__(self) -> None:
        self.statement = ""
        self.moment = ""
        self.error: BaseException = sqlite3.OperationalError("disk I/O error")
        self.is_gone = False

    def fail(self, moment: str, statement: str = "COMMIT", error: BaseException | None = None) -> None:
        self.moment, self.statement = moment, statement
        self.error = error or sqlite3.OperationalError("disk I/O error")

    def connect(self, path: Path) -> sqlite3.Connection:
        if self.is_gone:
            raise sqlite3.OperationalError("unable to open database file")
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
                return disk.execute(super().execute, sql, *parameters)

        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.1, factory=Connection)

    def execute(self, real: Callable[..., sqlite3.Cursor], sql: str, *parameters: object) -> sqlite3.Cursor:
        is_hit = bool(self.statement) and sql.startswith(self.statement)
        if is_hit:
            self.statement = ""
            if self.moment == "before":
                raise self.error
        cursor = real(sql, *parameters)
        if is_hit:
            raise self.error
        return cursor


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def writer(tmp_path: Path, disk: Disk) -> Iterator[LedgerWriter]:
    """A ledger with three records: created, begun, step 1 started."""
    with LedgerWriter.create(tmp_path, ORIGIN, FakeClock(), connect=disk.connect) as writer:
        writer.append(TX, begun(), started(1))
        yield writer


def types(directory: Path) -> list[str]:
    with LedgerReader.open(directory) as reader:
        reader.verify()
        return [record.type for record in reader.records(after=3)]


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO events", "UPDATE transactions", "COMMIT"])
def test_what_failed_before_it_was_done_is_not_in_the_ledger(
    tmp_path: Path, writer: LedgerWriter, disk: Disk, statement: str
) -> None:
    before = writer.status(TX)
    disk.fail("before", statement)
    with pytest.raises(AppendFailed, match="cannot append to the ledger: disk I/O error") as caught:
        writer.append(TX, succeeded(1), started(2))
    assert caught.value.remedy
    assert types(tmp_path) == []
    assert writer.status(TX) == before
    writer.append(TX, succeeded(1), started(2))
    assert types(tmp_path) == ["step.succeeded", "step.started"]


def test_a_commit_that_failed_after_it_was_done_holds_and_is_made_durable(
    tmp_path: Path, writer: LedgerWriter, disk: Disk
) -> None:
    disk.fail("after")
    records = writer.append(TX, succeeded(1), started(2))
    assert [record.seq for record in records] == [4, 5]
    assert types(tmp_path) == ["step.succeeded", "step.started"]
    assert (tmp_path / "ledger.db-wal").stat().st_size == 0, "it is in the file itself"
    writer.append(TX, succeeded(2))
    assert types(tmp_path) == ["step.succeeded", "step.started", "step.succeeded"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_note_is_treated_alike(tmp_path: Path, writer: LedgerWriter, disk: Disk, moment: str) -> None:
    disk.fail(moment)
    try:
        writer.note(RecoveryStarted(boot_id="boot-2", open=()))
    except AppendFailed:
        assert moment == "before"
    writer.note(RecoveryStarted(boot_id="boot-3", open=()))
    assert len(types(tmp_path)) == (1 if moment == "before" else 2)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_where_nobody_can_say_the_writer_says_so_from_then_on(
    tmp_path: Path, writer: LedgerWriter, disk: Disk, moment: str
) -> None:
    disk.fail(moment)
    disk.is_gone = True
    with pytest.raises(LedgerUnusable, match="its outcome cannot be read") as caught:
        writer.append(TX, succeeded(1))
    assert caught.value.exit_code == 3
    disk.is_gone = False
    for call in (lambda: writer.append(TX, succeeded(1)), writer.open_transactions, lambda: writer.status(TX)):
        with pytest.raises(LedgerUnusable, match="its outcome cannot be read"):
            call()
    writer.close()
    with reopen(tmp_path) as again:
        assert len(again.records(TX)) == (2 if moment == "before" else 3)


def test_a_commit_that_cannot_be_made_durable_is_not_acknowledged(
    tmp_path: Path, writer: LedgerWriter, disk: Disk
) -> None:
    reader = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()  # pins the log
    disk.fail("after")
    with pytest.raises(LedgerUnusable, match="cannot be made durable"):
        writer.append(TX, succeeded(1))
    reader.close()


def test_a_pinned_log_does_not_hide_that_a_commit_failed(tmp_path: Path, writer: LedgerWriter, disk: Disk) -> None:
    reader = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    disk.fail("before")
    with pytest.raises(AppendFailed):
        writer.append(TX, succeeded(1), started(2))
    reader.close()
    writer.append(TX, succeeded(1))
    assert types(tmp_path) == ["step.succeeded"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO events", "UPDATE transactions", "COMMIT"])
def test_an_interrupt_within_an_append_leaves_the_writer_true_to_the_file(
    tmp_path: Path, writer: LedgerWriter, disk: Disk, moment: str, statement: str
) -> None:
    disk.fail(moment, statement, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        writer.append(TX, succeeded(1))
    is_there = (statement, moment) == ("COMMIT", "after")
    assert len(writer.records(TX)) == (3 if is_there else 2)
    writer.append(TX, *(() if is_there else (succeeded(1),)), started(2))
    assert types(tmp_path) == ["step.succeeded", "step.started"]


def test_another_program_that_holds_the_database_costs_the_append_only(tmp_path: Path, writer: LedgerWriter) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AppendFailed, match="database is locked") as caught:
        writer.append(TX, succeeded(1))
    assert "fuser" in caught.value.remedy
    other.close()
    writer.append(TX, succeeded(1))
    assert types(tmp_path) == ["step.succeeded"]


def test_a_database_that_may_not_grow_refuses_until_it_may(tmp_path: Path, writer: LedgerWriter) -> None:
    connection = writer._store.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(AppendFailed, match="database or disk is full") as caught:
        writer.append("aaaa0002", begun("jail:db", padding=100_000))
    assert "make room" in caught.value.remedy
    assert types(tmp_path) == []
    connection.execute("PRAGMA max_page_count = 100000")
    writer.append("aaaa0002", begun("jail:db", padding=100_000))
    assert types(tmp_path) == ["transaction.begun"]


def test_a_log_that_may_not_grow_fails_a_real_commit(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the write of the log itself fails, in the middle of COMMIT, without root and without a mount."""
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        from ledger.errors import AppendFailed
        from tests.ledger.fakes import TX, begun, create, started, succeeded
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        directory = Path(sys.argv[1])
        with create(directory) as writer:
            writer.append(TX, begun(), started(1))
            limit = (directory / "ledger.db-wal").stat().st_size + 5000
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                writer.append("aaaa0002", begun("jail:db", padding=200_000))
            except AppendFailed as error:
                print("refused:", error, error.__cause__)
            print(list(writer.open_transactions()))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            writer.append("aaaa0002", begun("jail:db", padding=200_000))
        """
    )
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("files are limited already")
    command = [sys.executable, "-c", script, str(tmp_path)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert found.startswith("refused: cannot append to the ledger: ")
    assert f"['{TX}']" in found
    assert types(tmp_path) == ["transaction.begun"]


@pytest.fixture(params=["tmpfs", "ext4", "btrfs"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system of our own."""
    kind: str = request.param
    where, image = tmp_path / "small", tmp_path / "image"
    where.mkdir()
    if os.geteuid() != 0 or (kind != "tmpfs" and shutil.which(f"mkfs.{kind}") is None):
        pytest.skip("needs root and mkfs")
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(where)]
    if kind != "tmpfs":
        image.touch()
        os.truncate(image, {"ext4": 4 << 20, "btrfs": 120 << 20}[kind])
        subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True, capture_output=True)
        mount = ["mount", "-o", "loop", str(image), str(where)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def fill(where: Path) -> None:
    """Leave not one byte free."""
    with (where / "fill").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                pass


FULL_DISK = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from ledger import store
    from ledger.errors import AppendFailed
    from ledger.events import RecoveryStarted
    from tests.ledger.fakes import TX, begun, create, started, succeeded
    from tests.ledger.test_faults import fill

    where = Path(sys.argv[1])
    if sys.argv[2] == "unguarded":
        store._LOW_BYTES = -1 << 60  # as if the disk became full after we looked
    with create(where / "ledger") as writer:
        writer.append(TX, begun(), started(1))
        fill(where)
        refused = 0
        for number in range(400):
            before = writer.open_transactions()  # known without a look at the disk
            try:
                writer.append(f"bbbb0{number:03}", begun(f"jail:x{number}", padding=20_000))
            except AppendFailed as error:
                assert "make room" in error.remedy, error.remedy
                assert writer.open_transactions() == before
                refused += 1
        (where / "fill").unlink()
        writer.append(TX, succeeded(1))
        print(refused, len(before))
    """
)


@pytest.mark.parametrize("guard", ["guarded", "unguarded"])
def test_on_a_full_disk_nothing_is_half_written_and_room_mends_it(small: Path, guard: str) -> None:
    if guard == "unguarded" and (small.parent / "image").exists() and (small.parent / "image").stat().st_size > 8 << 20:
        pytest.skip("a Btrfs that becomes full under SQLite's mapped index is a SIGBUS, hence the guard")
    command = [sys.executable, "-c", FULL_DISK, str(small), guard]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused, accepted = (int(word) for word in done.stdout.split())
    assert refused > 0
    with LedgerReader.open(small / "ledger") as reader:
        assert reader.verify().records == 1 + 3 + accepted - 1
        assert [record.type for record in reader.records(newest_first=True, limit=1)] == ["step.succeeded"]
    assert not list((small / "ledger").glob("*.room")), "the probe leaves nothing"
    create(small / "ledger").close()


READER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from ledger.errors import LedgerUnusable
    from ledger.reader import LedgerReader

    try:
        with LedgerReader.open(Path(sys.argv[1])) as reader:
            print(reader.verify().records)
    except LedgerUnusable as error:
        assert "make room" in error.remedy, error.remedy
        print(error.message.rpartition(": ")[2])
    """
)


@pytest.mark.parametrize("engine", ["gone", "at work"])
def test_a_reader_on_a_full_disk_reads_or_says_that_it_is_full(small: Path, engine: str) -> None:
    writer = create(small / "ledger")
    writer.append(TX, begun(), started(1))
    if engine == "gone":
        writer.close()
    fill(small)
    command = [sys.executable, "-c", READER, str(small / "ledger")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout in ("3\n", "its file system is full\n")) == (0, True), done
    (small / "fill").unlink()
    writer.close()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "3\n"), done


def test_a_log_that_was_removed_under_the_engine_is_told_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    writer = create(tmp_path / "ledger")
    writer.append(TX, begun(), started(1))
    (tmp_path / "ledger" / "ledger.db-wal").unlink()
    told = READER.replace('assert "make room"', 'assert "let that engine end"')
    command = [sys.executable, "-c", told, str(tmp_path / "ledger")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == "ledger.db-wal was removed while an engine is at work\n", done
    writer.append(TX, succeeded(1))
    writer.close()
    with LedgerReader.open(tmp_path / "ledger") as reader:
        assert reader.verify().records == 4

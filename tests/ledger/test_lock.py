"""One engine per ledger, and a child that outlives its engine."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ledger.errors import LedgerLocked, LedgerUnusable
from ledger.lock import EngineLock, read_holder, start_time
from ledger.reader import LedgerReader
from tests.ledger.fakes import TX, begun, create, reopen

HOLDER = textwrap.dedent(
    """
    import subprocess, sys
    from pathlib import Path
    from tests.ledger.fakes import reopen
    with reopen(Path(sys.argv[1])) as writer:
        fds = [writer.lock_fd] if sys.argv[2] == "pass" else []
        child = subprocess.Popen(["sleep", "60"], pass_fds=fds, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
        sys.stdin.read()
        child.kill()
    """
)


@contextmanager
def holder(directory: Path, mode: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds the ledger and has a child; yields it and the pid of the child."""
    command = [sys.executable, "-c", HOLDER, str(directory), mode]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        yield process, child
    finally:
        process.kill()
        process.communicate()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_a_second_engine_is_refused_and_told_who_holds_the_ledger(tmp_path: Path) -> None:
    create(tmp_path).close()
    with holder(tmp_path, "keep") as (process, _):
        for attempt in (reopen, create):
            with pytest.raises(LedgerLocked) as caught:
                attempt(tmp_path)
            message = f"cannot open the ledger: engine {process.pid} (rootswap upgrade web) holds it"
            assert caught.value.message == message
            assert caught.value.holder_alive
            assert caught.value.lock_path == tmp_path / "lock"
            assert caught.value.exit_code == 75
        process.communicate("")
    reopen(tmp_path).close()


def test_a_second_writer_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with create(tmp_path), pytest.raises(LedgerLocked):
        reopen(tmp_path)


def test_the_lock_of_a_killed_engine_is_free(tmp_path: Path) -> None:
    create(tmp_path).close()
    with holder(tmp_path, "keep") as (process, _):
        process.kill()
        process.wait()
        with reopen(tmp_path) as writer:
            writer.append(TX, begun())


def test_a_child_that_outlives_a_killed_engine_keeps_the_ledger_locked(tmp_path: Path) -> None:
    create(tmp_path).close()
    with holder(tmp_path, "pass") as (process, child):
        process.kill()
        process.wait()
        with pytest.raises(LedgerLocked, match="is gone, but a command that it started still runs") as caught:
            reopen(tmp_path)
        assert not caught.value.holder_alive
        assert str(tmp_path / "lock") in caught.value.remedy
        os.kill(child, signal.SIGKILL)
        wait_for_end(child)
        reopen(tmp_path).close()


def test_a_dead_engine_that_nobody_has_buried_yet_counts_as_gone(tmp_path: Path) -> None:
    create(tmp_path).close()
    with holder(tmp_path, "pass") as (process, _):
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but still a zombie
        with pytest.raises(LedgerLocked) as caught:
            reopen(tmp_path)
        assert not caught.value.holder_alive


@pytest.mark.parametrize("words", [b"", b"{", b"[]", b'{"pid": "x"}', b"null"])
def test_an_unreadable_lock_file_only_costs_the_name_of_the_holder(tmp_path: Path, words: bytes) -> None:
    lock = EngineLock.take(tmp_path / "lock", ("rootswap",), "2026-03-14T00:00:00.000000Z")
    (tmp_path / "lock").write_bytes(words)
    with pytest.raises(LedgerLocked, match="another engine holds it") as caught:
        EngineLock.take(tmp_path / "lock", ("rootswap",), "2026-03-14T00:00:00.000000Z")
    assert caught.value.holder_alive, "who cannot be named must be taken for alive"
    lock.release()


def test_everybody_may_read_who_took_the_lock(tmp_path: Path) -> None:
    assert read_holder(tmp_path / "lock") is None
    create(tmp_path).close()
    found = read_holder(tmp_path / "lock")
    assert found is not None
    assert (found.pid, found.argv, found.is_alive) == (os.getpid(), ("rootswap", "upgrade", "web"), True)


def test_a_lock_that_cannot_be_made_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")
    with pytest.raises(LedgerUnusable, match="cannot lock ledger") as caught:
        EngineLock.take(tmp_path / "lock", ("rootswap",), "2026-03-14T00:00:00.000000Z")
    assert caught.value.remedy
    assert not (tmp_path / "elsewhere").exists()


def test_a_refused_open_gives_the_lock_back(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun())
    whole = (tmp_path / "ledger.db").read_bytes()
    (tmp_path / "ledger.db").write_bytes(b"no database, but long enough to look at" * 100)
    with pytest.raises(Exception, match="not a database"):
        reopen(tmp_path)
    (tmp_path / "ledger.db").write_bytes(whole)
    reopen(tmp_path).close()


def test_readers_need_no_lock(tmp_path: Path) -> None:
    create(tmp_path).close()
    with holder(tmp_path, "keep"), LedgerReader.open(tmp_path) as reader:
        assert reader.last_seq() == 1


def test_a_process_is_known_by_its_start(tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc")
    assert start_time(os.getpid()) is not None
    assert start_time(os.getpid()) == start_time(os.getpid())
    assert start_time(2**22 + 1) is None


def wait_for_end(pid: int) -> None:
    """Until ``pid``, nobody's child of ours, has let go of its files."""
    for _ in range(1000):
        if start_time(pid) is None:
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} does not end")


def test_removing_the_lock_file_of_a_running_engine_gives_no_second_engine(tmp_path: Path) -> None:
    with create(tmp_path):
        (tmp_path / "lock").unlink()
        with pytest.raises(LedgerLocked):
            reopen(tmp_path)
    reopen(tmp_path).close()

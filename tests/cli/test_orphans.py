"""What a killed engine leaves running is found by the lock that it holds, and ended by ``recover``."""

import subprocess
import sys
from pathlib import Path

import pytest

from commands.cli import recover
from commands.drivers.orphans import end_orphans, find_orphans
from tests.cli.bench import Bench

HOLDER = str(Path(__file__).with_name("hold_lock.py"))

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="orphans are found through /proc")


def leave_orphan(lock: Path) -> int:
    """An engine that is gone, and its child that still holds the lock."""
    done = subprocess.run([sys.executable, HOLDER, str(lock), "orphan"], stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


def test_a_child_that_outlived_its_engine_is_found_and_ended(fast_directory: Path) -> None:
    lock = fast_directory / "lock"
    pid = leave_orphan(lock)
    found = find_orphans(lock)
    assert [(orphan.pid, orphan.command) for orphan in found] == [(pid, "sleep 60")]
    assert end_orphans(lock) == ()
    assert not found[0].is_alive


def test_nobody_holds_a_lock_that_is_not_there(fast_directory: Path) -> None:
    assert find_orphans(fast_directory / "lock") == ()


def test_recover_names_what_is_left_ends_it_and_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.settle()
    pid = leave_orphan(bench.ledger / "lock")
    monkeypatch.setattr(recover, "PATIENCE_S", 0.2)
    refused = bench.run("upgrade", "web")
    assert refused.code == 75
    assert "run `rootswap recover`, which waits for that command and then ends it" in refused.err
    recovered = bench.run("recover")
    assert recovered.code == 0
    assert f"a killed engine has left process {pid} running: sleep 60" in recovered.err
    assert bench.run("upgrade", "web").code == 0


def test_an_engine_that_lives_is_left_alone(fast_directory: Path) -> None:
    lock = fast_directory / "lock"
    with subprocess.Popen([sys.executable, HOLDER, str(lock)], stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        assert find_orphans(lock) == ()
        engine.kill()


def test_one_who_only_reads_the_lock_file_is_no_orphan(fast_directory: Path) -> None:
    lock = fast_directory / "lock"
    lock.touch()
    with lock.open() as file:
        reader = subprocess.Popen(["sleep", "60"], stdin=file)
    try:
        assert find_orphans(lock) == ()
    finally:
        reader.kill()
        reader.wait()

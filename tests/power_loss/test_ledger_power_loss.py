"""The power fails at any moment of the real writer's life: what was acknowledged is there, and the ledger is whole."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.power_loss import ledgers, programs, strace, sweep
from tests.power_loss.ledgers import Fault, Verdict
from tests.power_loss.sweep import Report, Tally
from tests.power_loss.trace import Op

pytestmark = pytest.mark.sweep

PROGRAM = "tests.power_loss.programs"

#: One process: what it does, how many commits, how it opens the file, and the system call at which it is killed.
Life = tuple[str, int, str, tuple[str, int] | None]


def lives(*actions: str, commits: int = 6, connection: str = "as shipped") -> list[Life]:
    return [(action, commits, connection, None) for action in actions]


HISTORIES: dict[str, list[Life]] = {
    "one engine, closed": lives("create", commits=15),
    "three engines, each closed": lives("create", "open", "open", commits=5),
    "three engines that leave their log behind": lives("create, leave", "open, leave", "open", commits=5),
    "a log that is emptied again and again": lives("create", commits=15, connection="small log"),
}
#: What an engine does before it is killed: the system call, and how many of them it has done.
KILLS = {
    "killed while it makes the directory": ("fsync", 1),
    "killed at the first sync of the draft": ("fdatasync", 1),
    "killed at the last sync of the draft": ("fdatasync", 8),
    "killed before the draft is renamed": ("rename", 1),
    "killed after the draft was renamed": ("fsync", 2),
    "killed in its first commit": ("fdatasync", 10),
    "killed in a later commit": ("fdatasync", 13),
}
for _name, _kill in KILLS.items():
    HISTORIES[_name] = [("create", 6, "as shipped", _kill), *lives("create", "open", commits=5)]
HISTORIES["killed in a checkpoint"] = [
    ("create", 12, "small log", ("fdatasync", 15)),
    *lives("open", commits=8, connection="small log"),
]

#: How often each kind of chance is tried at a point; sets the number of images and the time that it takes.
ROUNDS = 2
#: All histories together; each has its share.
FEWEST_IMAGES = 20_000


def record(root: Path, history: Sequence[Life]) -> list[Op]:
    root.mkdir()
    recorder = strace.Recorder(root)
    for number, (action, commits, connection, kill) in enumerate(history, 1):
        ended = recorder.run(PROGRAM, action, str(number), str(commits), connection, kill_at=kill)
        assert ended == (kill is None), f"the process was not killed at {kill}"
    return recorder.ops


def judge_all(name: str, ops: Sequence[Op], *, rounds: int = ROUNDS, readers: bool = True) -> Report:
    """Without ``readers``, an engine opens each image first: only it can carry out a rollback journal."""
    demanded = ledgers.demands(ops)

    def key(point: int) -> tuple[int, int]:
        return len(demanded[point].acknowledged), len(demanded[point].next_commit)

    def judge(point: int, directory: Path, number: int) -> Verdict | None:
        return ledgers.judge(directory / programs.LEDGER, demanded[point], reader_first=readers and number % 2 == 0)

    return sweep.sweep(name, ops, key, judge, rounds=rounds)


@pytest.fixture(autouse=True)
def _needs_strace() -> None:
    if not strace.available():
        pytest.skip("needs strace, and the right to trace")


@pytest.mark.parametrize("name", HISTORIES)
def test_no_power_cut_loses_or_breaks_anything(name: str, fast_directory: Path, tally: Tally) -> None:
    report = judge_all(name, record(fast_directory / "root", HISTORIES[name]))
    tally("the ledger as shipped", name, report)
    report.require_sound()
    assert report.images >= FEWEST_IMAGES / len(HISTORIES)


@pytest.mark.parametrize("connection", ["normal", "off", "rollback journal, full"])
def test_the_rig_finds_what_is_lost_where_less_is_synced(connection: str, fast_directory: Path, tally: Tally) -> None:
    history = lives("create", "open", commits=5, connection=connection)
    report = judge_all(connection, record(fast_directory / "root", history), rounds=1, readers=False)
    tally("with less synced than shipped, where faults have to be found", connection, report)
    assert report.faults[Fault.LOST] > 0
    assert report.faults[Fault.UNEXPECTED] == 0, report.findings


def test_a_rollback_journal_that_is_synced_as_we_sync_would_do(fast_directory: Path, tally: Tally) -> None:
    """The rig does not cry wolf: another journal that is known to be safe is found to be."""
    history = lives("create", commits=6, connection="rollback journal, extra")
    report = judge_all("rollback journal, extra", record(fast_directory / "root", history), rounds=1, readers=False)
    tally("with a rollback journal, fully synced", "rollback journal, extra", report)
    report.require_sound()

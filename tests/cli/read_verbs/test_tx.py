"""``tx list``, ``tx show`` and ``tx watch``."""

import csv
import io
import json
from pathlib import Path

import pytest

from commands.cli import tx
from ledger.events import TransactionEvent, TransactionStuck
from ledger.reader import LedgerReader
from ledger.writer import LedgerWriter
from projections.timeline import LogLine
from tests.cli.read_verbs.stories import Run, crash_in_the_middle, data, upgrade
from tests.ledger.fakes import TX, FakeClock, create, whole_unwinding, whole_upgrade
from tests.site import Script, Site, fail

# --- tx list ----------------------------------------------------------------------------------------------------------


def test_tx_list_shows_the_newest_first(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    code, out, _ = run("tx", "list")
    assert code == 0
    heading, *lines = out.splitlines()
    assert heading.split()[:4] == ["TRANSACTION", "KIND", "TARGET", "STATE"]
    assert [line.split()[0] for line in lines] == ["00000004", "00000003", "00000002", "00000001", "00000000"]
    assert "debian@00000001 → debian@00000003" in lines[0] and "+02:00" in lines[0]
    assert "03:04:05Z" in run("tx", "list", "--utc")[1]


def test_tx_list_is_cut_by_target_state_and_number(site: Site, run: Run) -> None:
    crash_in_the_middle(site)
    listed = [line["transaction"] for line in data(run("tx", "list", "--target", "web", "-o", "json"))]
    assert listed == ["00000004", "00000002"]
    assert [line["transaction"] for line in data(run("tx", "list", "--open", "--json"))] == ["00000004"]
    newest = [line["transaction"] for line in data(run("tx", "list", "--limit", "2", "--json"))]
    assert newest == ["00000004", "00000003"]
    assert data(run("tx", "list", "--limit", "0", "--json")) == data(run("tx", "list", "--json"))


def test_tx_list_for_spreadsheets(site: Site, run: Run) -> None:
    _, out, _ = run("tx", "list", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["transaction"] for row in rows] == ["00000003", "00000002", "00000001", "00000000"]
    assert rows[1]["to_release"] == "debian@00000001" and int(rows[1]["duration_ns"]) > 0
    _, empty, _ = run("tx", "list", "--open", "-o", "csv")
    assert empty.strip() == out.splitlines()[0]


# --- tx show ----------------------------------------------------------------------------------------------------------


def test_tx_show_tells_every_step_its_error_and_its_undo(site: Site, run: Run) -> None:
    gate = Script(strike_at=1, strike=fail, only="before moving mount")
    assert site.run(upgrade, gate).state == "rolled-back"
    code, out, _ = run("tx", "show", "00000004")
    assert code == 0
    assert "state:       rolled-back" in out and "reason:      test" in out and "downtime:" in out
    assert "by root (uid 0)" in out
    lines = out.splitlines()
    stop = next(line for line in lines if "stop_jail" in line)
    assert "undone" in stop and "running → stopped" in stop and "+02:00" in stop
    assert f"step 4 remount_root: struck at point 1: {gate.seen[0]}" in lines
    assert "  2. stop web (SIGTERM, killed after 10 s)" in lines
    assert "     undo: start web on debian@00000001 again" in lines


def test_tx_show_for_machines(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    found: dict = data(run("tx", "show", "00000004", "--json"))  # type: ignore[assignment]
    assert [step["state"] for step in found["steps"]] == ["succeeded"] * len(found["steps"])
    stop = found["steps"][1]
    assert (stop["step"], stop["kind"], stop["before"], stop["after"]) == (2, "stop_jail", "running", "stopped")
    assert stop["undo_words"] == "start web on debian@00000001 again"
    rows = list(csv.DictReader(io.StringIO(run("tx", "show", "00000004", "-o", "csv")[1])))
    assert [row["kind"] for row in rows] == [step["kind"] for step in found["steps"]]


def test_a_prefix_is_enough_if_it_is_the_only_one(run: Run, config: Path) -> None:
    with create(config.parent / "state" / "ledger") as ledger:
        ledger.append("aaaa0001", *whole_upgrade())
        ledger.append("aabb0001", *whole_unwinding())
    assert "aabb0001" in run("tx", "show", "aab")[1]
    for words, told in (("aa", "aaaa0001, aabb0001"), ("zz", "cannot find transaction 'zz'"), ("", "cannot find")):
        code, out, err = run("tx", "show", words)
        assert (code, out) == (2, "")
        assert told in err and "remedy:" in err
    code, out, _ = run("tx", "show", "zz", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "usage"


# --- tx watch ---------------------------------------------------------------------------------------------------------


class Ticking(FakeClock):
    """While the watcher sleeps, the engine goes on: one commit for each sleep."""

    def __init__(self, ledger: LedgerWriter, events: tuple[TransactionEvent, ...]) -> None:
        super().__init__()
        self.ledger = ledger
        self.events = list(events)
        self.slept = 0

    def sleep(self, seconds: float) -> None:
        assert seconds == tx.POLL_S
        self.slept += 1
        if self.events:
            self.ledger.append(TX, self.events.pop(0))


def watch(
    directory: Path, events: tuple[TransactionEvent, ...], *, alive: bool = True, listens: int = 99
) -> tuple[int, list[str], int]:
    told: list[str] = []

    def tell(line: LogLine) -> bool:
        told.append(line.type)
        return len(told) < listens

    with create(directory) as ledger, LedgerReader.open(directory) as reader:
        begun, *rest = events
        ledger.append(TX, begun)
        clock = Ticking(ledger, tuple(rest))
        return tx.follow(reader, TX, clock, lambda: alive, tell), told, clock.slept


@pytest.mark.parametrize(("events", "code"), [(whole_upgrade(), 0), (whole_unwinding(), 1)])
def test_watch_tells_every_record_and_ends_as_the_transaction_does(
    tmp_path: Path, events: tuple[TransactionEvent, ...], code: int
) -> None:
    assert watch(tmp_path, events) == (code, [event.type for event in events], len(events) - 1)


def test_watch_ends_with_3_when_the_transaction_is_stuck(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = (*whole_upgrade()[:2], TransactionStuck(cause="foreign"))
    assert watch(tmp_path, events)[0] == 3
    assert "is stuck" in capsys.readouterr().err


def test_watch_does_not_wait_for_an_engine_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, slept = watch(tmp_path, whole_upgrade()[:2], alive=False)
    assert (code, len(told)) == (3, 2)
    assert slept < 2 * tx.PATIENCE
    assert "rootswap recover" in capsys.readouterr().err


def test_watch_stops_when_nobody_listens(tmp_path: Path) -> None:
    assert watch(tmp_path, whole_upgrade(), listens=2)[1:] == (["transaction.begun", "step.started"], 1)


def test_watch_of_the_latest_transaction(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    code, out, _ = run("tx", "watch", "--latest")
    assert code == 0
    assert "upgrade begun" in out.splitlines()[0]
    assert "transaction committed" in out.splitlines()[-1]
    lines = [json.loads(line) for line in run("tx", "watch", "00000004", "-o", "jsonl")[1].splitlines()]
    assert (lines[0]["type"], lines[-1]["type"]) == ("transaction.begun", "transaction.committed")
    assert run("tx", "watch")[0] == 2


def test_a_watcher_that_is_interrupted_detaches(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    crash_in_the_middle(site)

    def interrupted(reader: LedgerReader) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tx, "engine_at_work", interrupted)
    code, _, err = run("tx", "watch", "--latest")
    assert code == 0
    assert err.startswith("detached: transaction 00000004 goes on")

"""What the projections answer."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from commands.bootstrap import Session
from commands.transactions.plan import Plan
from ledger.codec import decode
from ledger.errors import LedgerDamaged
from ledger.events import (
    StepStarted,
    StepSucceeded,
    StepUndone,
    StepUndoStarted,
    TransactionBegun,
    TransactionCommitted,
    TransactionEvent,
    TransactionRolledBack,
    UnwindStarted,
)
from ledger.facts import Fact, ReleaseRetired, SnapshotTaken
from ledger.reader import LedgerReader
from ledger.writer import LedgerWriter
from projections import exports, queries
from projections.current_state import Settled
from projections.projector import Projector
from projections.releases import ReleaseLine, jails_holding, jails_on
from tests.ledger.attacks import tamper
from tests.ledger.fakes import ORIGIN, TX, CountedIds, FakeClock, create, whole_upgrade
from tests.projections.histories import log_of
from tests.site import Script, Site, fail

Answers = tuple[LedgerReader, Projector]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A host on which ``web`` was deployed and the template upgraded."""
    return Site(tmp_path / "ledger").settle()


@pytest.fixture
def ask(site: Site) -> Iterator[Callable[[], Answers]]:
    """Opens the reader and projections, as they are now."""
    opened: list[Answers] = []

    def answer() -> Answers:
        reader = LedgerReader.open(site.directory)
        projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
        projector.catch_up(reader)
        opened.append((reader, projector))
        return reader, projector

    yield answer
    for reader, projector in opened:
        projector.close()
        reader.close()


def upgrade(session: Session) -> Plan | None:
    return session.requests.upgrade("web", None)


def releases(answers: Answers) -> dict[str, str]:
    return {line.release: line.state for line in queries.all_releases(answers[1])}


# --- releases ---------------------------------------------------------------------------------------------------------


def test_a_release_is_present_once_its_transaction_has_committed(site: Site, ask: Callable[[], Answers]) -> None:
    assert releases(ask()) == {"debian@00000001": "present", "debian@00000003": "present"}
    line = queries.all_releases(ask()[1])[0]
    assert line == ReleaseLine("debian@00000001", "debian", "present", line.taken_at, "00000001")


def test_a_release_is_pending_until_the_commit_and_undone_if_it_is_taken_back(tmp_path: Path) -> None:
    assert states_of("take_snapshot", TAKEN, tmp_path) == ["pending", "pending", "pending", "undone", "undone"]


def test_a_release_is_retiring_until_the_commit_and_present_if_it_is_taken_back(tmp_path: Path) -> None:
    with create(tmp_path) as ledger:
        end = TransactionCommitted(duration_ns=1, downtime_ns=None)
        ledger.append("00000001", *one_step("take_snapshot", TAKEN), end)
    fact = ReleaseRetired(before="debian@00000001", after=None, release="debian@00000001")
    assert states_of("retire_release", fact, tmp_path) == ["retiring", "retiring", "retiring", "present", "present"]


TAKEN = SnapshotTaken(before=None, after="debian@00000001", release="debian@00000001", fingerprint="f")


def one_step(kind: str, fact: Fact) -> list[TransactionEvent]:
    begun = TransactionBegun(kind="k", target="template:debian", steps=(kind,), before=None, after=None, plan={})
    succeeded = StepSucceeded(step=1, kind=kind, attempt=1, fact=fact, duration_ns=1)
    return [begun, StepStarted(step=1, kind=kind, attempt=1), succeeded]


def states_of(kind: str, fact: Fact, directory: Path) -> list[str]:
    """The state of the release after the step, and after each event of the way back."""
    way_back: list[TransactionEvent] = [
        UnwindStarted(cause="no"),
        StepUndoStarted(step=1, kind=kind, attempt=1),
        StepUndone(step=1, kind=kind, duration_ns=1),
        TransactionRolledBack(cause="no", duration_ns=1, downtime_ns=None),
    ]
    states = []
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with create(directory) as ledger, LedgerReader.open(directory) as reader, closing(projector):
        for events in (one_step(kind, fact), *([event] for event in way_back)):
            ledger.append("00000002", *events)
            projector.catch_up(reader)
            (line,) = queries.all_releases(projector)
            states.append(line.state)
            assert line.is_there == (line.state != "undone")
    return states


def test_a_retired_release_is_gone_after_the_commit(site: Site, ask: Callable[[], Answers]) -> None:
    site.run(upgrade).raise_unless_committed()
    site.run(upgrade_template).raise_unless_committed()
    site.run(upgrade).raise_unless_committed()
    site.run(lambda session: session.requests.destroy_release("debian@00000001")).raise_unless_committed()
    line = queries.all_releases(ask()[1])[0]
    assert (line.release, line.state, line.retired_by) == ("debian@00000001", "retired", "00000007")
    assert not line.is_there


def test_the_jails_on_a_release_and_those_that_would_go_back_to_it() -> None:
    settled = {
        "web": Settled(release="debian@00000002", past=("debian@00000000", "debian@00000001")),
        "mail": Settled(release="debian@00000001"),
    }
    assert jails_on("debian@00000001", settled) == ("mail",)
    assert jails_holding("debian@00000001", settled) == ("web",)
    assert jails_holding("debian@00000000", settled) == ()


# --- targets ----------------------------------------------------------------------------------------------------------


def upgrade_template(session: Session) -> Plan | None:
    return session.requests.upgrade_template("debian", None)


def test_a_restart_does_not_change_since_when_a_jail_is_on_its_release(site: Site, ask: Callable[[], Answers]) -> None:
    site.run(upgrade).raise_unless_committed()
    since = queries.all_targets(ask()[1], "jail")["web"]
    site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    reader, projector = ask()
    stopped = queries.all_targets(projector, "jail")["web"]
    assert (stopped.since, stopped.by) == (since.since, "00000004")
    assert (stopped.settled.running, stopped.settled_by) == (False, "00000005")
    assert queries.current_targets(reader, "jail")["web"] == stopped


def test_a_rollback_is_a_change_of_release(site: Site, ask: Callable[[], Answers]) -> None:
    site.run(upgrade).raise_unless_committed()
    site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
    line = queries.current_targets(ask()[0], "jail")["web"]
    assert (line.settled.release, line.by, line.settled.past) == ("debian@00000001", "00000005", ())


def test_a_failed_upgrade_leaves_the_jail_where_it_was(site: Site, ask: Callable[[], Answers]) -> None:
    gate = Script(strike_at=1, strike=fail, only="before moving mount")
    assert site.run(upgrade, gate).state == "rolled-back"
    reader, projector = ask()
    line = queries.all_targets(projector, "jail")["web"]
    assert (line.settled.release, line.by, line.settled_by) == ("debian@00000001", "00000002", "00000004")
    last = queries.last_transaction(reader, "jail:web")
    assert last is not None
    assert (last.transaction_id, last.state, last.downtime_ns is None) == ("00000004", "rolled-back", False)
    assert last.cause is not None and "remount_root" in last.cause


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_is_cut_by_time_target_transaction_and_number(site: Site, ask: Callable[[], Answers]) -> None:
    reader, projector = ask()
    everything = log_of(reader, projector)
    assert [line.seq for line in everything] == list(range(1, len(everything) + 1))
    web = log_of(reader, projector, target="jail:web")
    assert web == [line for line in everything if line.target == "jail:web"]
    assert log_of(reader, projector, transaction="00000002") == web
    assert log_of(reader, projector, limit=3) == everything[-3:]
    begin, end = everything[4].at, everything[9].at
    assert log_of(reader, projector, since=begin, until=end) == everything[4:9]
    assert (
        log_of(reader, projector, since=begin, until=end, target="jail:web", limit=2)
        == [line for line in everything[4:9] if line.target == "jail:web"][-2:]
    )


def test_a_clock_that_was_set_back_hides_nothing_from_the_log(tmp_path: Path) -> None:
    clock = FakeClock()
    with LedgerWriter.create(tmp_path, ORIGIN, clock, new_id=CountedIds()) as ledger:
        begun, *rest = whole_upgrade()
        ledger.append(TX, begun)
        clock.moment -= timedelta(hours=2)
        ledger.append(TX, *rest)
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(tmp_path) as reader, closing(projector):
        projector.catch_up(reader)
        late = log_of(reader, projector, since="2026-03-14T01:00:00.000000Z")
        assert [line.type for line in late] == ["ledger.created", "transaction.begun"]
        assert len(log_of(reader, projector, until="2026-03-14T01:00:00.000000Z")) == len(rest)


def test_the_log_says_what_happened_in_words(site: Site, ask: Callable[[], Answers]) -> None:
    gate = Script(strike_at=1, strike=fail, only="before moving mount")
    site.run(upgrade, gate)
    lines = log_of(*ask(), transaction="00000004")
    words = [(line.what, line.outcome, line.detail) for line in lines]
    assert words[0] == ("upgrade begun, 6 steps", None, "debian@00000001 → debian@00000003")
    assert words[1] == ("step 1 stage_root started", None, None)
    assert ("step 2 stop_jail succeeded", "ok", "running → stopped") in words
    failures = [
        detail for what, outcome, detail in words if (what, outcome) == ("step 4 remount_root failed", "failed")
    ]
    assert failures == [f"struck at point 1: {gate.seen[0]}"]
    assert words[-1][:2] == ("transaction rolled back", "rolled-back")
    assert words[-1][2] is not None and "downtime" in words[-1][2]
    assert {line.login for line in lines} == {"root"}


# --- exact bytes ------------------------------------------------------------------------------------------------------


def test_exported_bytes_are_those_that_are_stored(site: Site) -> None:
    connection = sqlite3.connect(site.directory / "ledger.db")
    stored = dict(connection.execute("SELECT seq, record FROM events").fetchall())
    connection.close()
    path = site.directory / "ledger.db"
    assert list(exports.stored_bytes(path, sorted(stored))) == [stored[seq] for seq in sorted(stored)]
    assert [decode(data).seq for data in exports.stored_bytes(path, [5, 2, 9])] == [5, 2, 9]


def test_bytes_that_were_changed_are_not_exported(tmp_path: Path) -> None:
    with create(tmp_path) as ledger:
        ledger.append(TX, *whole_upgrade())
    tamper(tmp_path, "UPDATE events SET record = cast(replace(record, 'paul', 'eva') AS BLOB) WHERE seq = 3")
    with pytest.raises(LedgerDamaged, match="record 3"):
        list(exports.stored_bytes(tmp_path / "ledger.db", [2, 3]))
    with pytest.raises(LedgerDamaged, match="record 99"):
        list(exports.stored_bytes(tmp_path / "ledger.db", [99]))


def test_a_settled_state_survives_the_table(site: Site, ask: Callable[[], Answers]) -> None:
    site.run(upgrade).raise_unless_committed()
    row = next(iter(ask()[1].database.query("SELECT settled FROM targets WHERE target = 'jail:web'")))
    assert json.loads(row["settled"]) == {
        "head": None,
        "past": ["debian@00000001"],
        "path": None,
        "release": "debian@00000003",
        "running": True,
    }

"""The questions of auditors: the right answers, and none of them by looking at everything."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.authority import Approval
from ledger.codec import Actor, Origin
from ledger.events import (
    OperatorDecided,
    StepStarted,
    StepSucceeded,
    StepUndone,
    StepUndoStarted,
    TransactionBegun,
    TransactionCommitted,
    TransactionRejected,
    TransactionRolledBack,
    TransactionStuck,
    UnwindStarted,
)
from ledger.facts import JailStopped
from ledger.reader import LedgerReader
from ledger.writer import LedgerWriter
from projections import asof, questions, records
from projections.marks import UNAPPROVED, VERDICTS
from projections.projector import Projector
from projections.questions import QUESTIONS, Scope, ask, downtimes, people, rank
from tests.ledger.fakes import CountedIds, FakeClock
from tests.projections.histories import write

STEPS = ("stage_root", "stop_jail", "snapshot_volumes", "remount_root", "start_jail", "check_health")


def actor(login: str, uid: int) -> Origin:
    who = Actor(uid=0, login=login, login_uid=uid, invoked=("rootswap",), tty=None)
    return Origin(host_id="host-1", boot_id="boot-1", engine_version="0.1.0", actor=who)


def order(target: str, kind: str = "upgrade", approval: Approval | None = None) -> TransactionBegun:
    return TransactionBegun(
        kind=kind, target=target, steps=STEPS, before=None, after=None, plan={}, reason="CVE", approval=approval
    )


def ran(count: int, each_ns: int) -> list[StepStarted | StepSucceeded]:
    """The first ``count`` steps, each as long."""
    events: list[StepStarted | StepSucceeded] = []
    fact = JailStopped(before="running", after="stopped", jail="web")
    for number, kind in enumerate(STEPS[:count], 1):
        events.append(StepStarted(step=number, kind=kind, attempt=1))
        events.append(StepSucceeded(step=number, kind=kind, attempt=1, fact=fact, duration_ns=each_ns))
    return events


def taken_back(count: int) -> list[StepUndoStarted | StepUndone]:
    events: list[StepUndoStarted | StepUndone] = []
    for number in range(count, 0, -1):
        events.append(StepUndoStarted(step=number, kind=STEPS[number - 1], attempt=1))
        events.append(StepUndone(step=number, kind=STEPS[number - 1], duration_ns=3))
    return events


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Paul begins four changes of web and one of mail; eva decides on a stuck one."""
    clock = FakeClock()
    ids = CountedIds()
    with LedgerWriter.create(tmp_path, actor("paul", 1001), clock, new_id=ids) as ledger:
        for number, downtime_ns in enumerate((100, 300, 200), 1):
            end = TransactionCommitted(duration_ns=1000, downtime_ns=downtime_ns)
            ledger.append(f"0000000{number}", order("jail:web"), *ran(6, 10), end)
        by_eva = Approval(by="eva", at="2026-03-01T10:00:00Z", meaning="change board")
        back = TransactionRolledBack(cause="it is not well", duration_ns=900, downtime_ns=500)
        turned = (UnwindStarted(cause="it is not well"), *taken_back(5), back)
        ledger.append("00000004", order("jail:web", approval=by_eva), *ran(5, 10), *turned)
        by_paul = Approval(by="paul", at="2026-03-01T10:00:00Z", meaning="I know")
        ledger.append("00000005", order("jail:mail", "rollback", by_paul), *ran(6, 10))
        ledger.append("00000005", TransactionCommitted(duration_ns=700, downtime_ns=70))
        late = Approval(by="eva", at="2027-01-01T10:00:00Z", meaning="afterwards")
        ledger.append("00000006", order("jail:db", approval=late), TransactionStuck(cause="foreign"))
        ledger.append("00000007", order("jail:old"), TransactionRejected(cause="no"))
    with LedgerWriter.open(tmp_path, actor("eva", 1002), clock, new_id=CountedIds(1000)) as ledger:
        ledger.append("00000006", OperatorDecided(choice="unwind", by="eva", why="unmounted it"))
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(tmp_path) as reader, closing(projector):
        projector.catch_up(reader)
        yield projector.database.conn


def names(rows: list[questions.Row]) -> list[str]:
    return [str(row["transaction_id"])[-1] for row in rows]


def test_each_question_finds_what_it_asks_for_newest_first(tables: sqlite3.Connection) -> None:
    assert names(ask(tables, "failed", Scope())) == ["7", "4"]
    assert names(ask(tables, "downtime", Scope())) == ["5", "4", "3", "2", "1"]
    assert names(ask(tables, "unapproved", Scope())) == ["6", "5", "3", "2", "1"]
    assert [row["approval"] for row in ask(tables, "unapproved", Scope(limit=3))] == [
        "late",
        "self-approved",
        "missing",
    ]
    assert names(ask(tables, "open", Scope())) == ["6"]
    assert names(ask(tables, "population", Scope())) == ["1", "2", "3", "4", "5", "6", "7"]
    assert ask(tables, "outside-window", Scope()) == []


def test_a_rollback_tells_how_long_it_took_and_who_did_it(tables: sqlite3.Connection) -> None:
    by_operator, by_engine = ask(tables, "rollbacks", Scope())
    assert (by_operator["how"], by_operator["took_ns"]) == ("by an operator", 700)
    assert by_engine["how"] == "by the engine"
    # One commit: each record a tick of a millisecond after the one before; turning back, ten of undoing, and the end.
    assert by_engine["took_ns"] == 11_000_000


def test_a_period_and_a_target_cut_every_answer(tables: sqlite3.Connection) -> None:
    begun = [str(row["begun_at"]) for row in ask(tables, "population", Scope())]
    assert names(ask(tables, "population", Scope(since=begun[1], until=begun[3]))) == ["2", "3"]
    for question in QUESTIONS:
        inside = ask(tables, question.name, Scope(since=begun[0]))
        assert inside == ask(tables, question.name, Scope())
        assert ask(tables, question.name, Scope(until=begun[0])) == []
        of_web = ask(tables, question.name, Scope(target="jail:web"))
        if question.name != "who":
            assert of_web == [row for row in inside if row["target"] == "jail:web"]
        assert ask(tables, question.name, Scope(limit=1)) == inside[:1]


def test_people_are_counted_by_what_they_began_approved_and_decided(tables: sqlite3.Connection) -> None:
    paul, eva = people(tables, Scope())
    assert (paul["login"], paul["login_uid"], paul["begun"], paul["committed"]) == ("paul", 1001, 7, 4)
    assert (paul["rolled_back"], paul["unfinished"], paul["targets"], paul["approved"]) == (1, 1, 4, 1)
    assert (eva["login"], eva["begun"], eva["approved"], eva["decided"]) == ("eva", 0, 2, 1)


def test_downtimes_are_summed_by_step_and_ranked(tables: sqlite3.Connection) -> None:
    web = next(one for one in downtimes(tables, Scope()) if one.target == "jail:web")
    assert (web.changes, web.p50_ns, web.p95_ns, web.max_ns, web.total_ns) == (4, 200, 500, 500, 1100)
    assert web.shares["stop_ns"] == 40
    assert web.shares["undo_ns"] == 12, "four of the five steps that were undone are of the downtime"
    assert sum(web.shares.values()) == web.total_ns


@pytest.mark.parametrize(("percent", "found"), [(0, 1), (50, 2), (51, 3), (75, 3), (95, 4), (100, 4)])
def test_percentiles_are_nearest_rank(percent: int, found: int) -> None:
    assert [1, 2, 3, 4][rank(4, percent)] == found


def test_every_verdict_is_either_shown_as_unapproved_or_is_no_change_that_began_on_nobodys_word() -> None:
    assert set(VERDICTS) - set(UNAPPROVED) == {"approved", "awaiting", "recovery"}


# --- the plans --------------------------------------------------------------------------------------------------------

PLANS = {
    **{question.name: question.text() for question in QUESTIONS},
    **{f"{question.name} of a target": question.text(of_target=True) for question in QUESTIONS},
    "downtime by target": questions.DOWNTIME_BY_TARGET.format(target=""),
    "downtime of a rank": questions.DOWNTIME_OF_RANK,
    "downtimes up to": questions.DOWNTIME_UP_TO,
    "changes by state": questions.BY_STATE.format(target=""),
    "first change": questions.FIRST.format(target=""),
    "downtime of a target": questions.DOWNTIME_BY_TARGET.format(target="AND target = :target"),
    "approvals": questions.APPROVALS_BY.format(target=""),
    "decisions": questions.DECISIONS_BY.format(target=""),
}
BOUND = {"since": "", "until": "", "limit": 10, "rank": 1, "more": 0, "most": 5}
AS_OF = {
    "targets": asof._TARGETS,
    "turns": asof._TURNS,
    "last": asof._LAST,
    "before": asof._BEFORE,
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projector]:
    """A history of some hundred records."""
    directory = tmp_path_factory.mktemp("large")
    write(directory, random.Random(1), 400)
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(directory) as reader, closing(projector):
        projector.catch_up(reader)
        yield projector


def plan(tables: sqlite3.Connection, text: str, bound: Any) -> list[str]:
    return [detail for _, _, _, detail in tables.execute(f"EXPLAIN QUERY PLAN {text}", bound)]


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("is_analyzed", [False, True])
def test_no_question_scans_a_table_where_an_index_could_serve(name: str, is_analyzed: bool, large: Projector) -> None:
    tables = large.database.conn
    if is_analyzed:
        tables.execute("ANALYZE")
    lines = plan(tables, PLANS[name], {**BOUND, "target": "jail:web"})
    scans = [line for line in lines if line.startswith("SCAN") and "USING COVERING INDEX" not in line]
    assert all(line.startswith(("SCAN (subquery", "SCAN CONSTANT")) for line in scans), lines
    assert any("INDEX" in line for line in lines), lines


@pytest.mark.parametrize("name", AS_OF)
def test_a_look_at_the_past_scans_nothing_but_the_turns_of_the_clock(name: str, large: Projector) -> None:
    bound = {"before": ("jail:web", 5)}.get(name, ())
    lines = plan(large.database.conn, AS_OF[name], bound)
    scans = [line for line in lines if line.startswith("SCAN")]
    assert all(line in ("SCAN found", "SCAN turns", "SCAN position") for line in scans), lines


def test_the_question_about_people_reads_the_index_alone(large: Projector) -> None:
    lines = plan(large.database.conn, PLANS["who"], {"since": "", "until": "", "limit": 10})
    assert any("COVERING INDEX" in line for line in lines), lines


@pytest.mark.parametrize("filtered", [{}, {"target": "jail:web"}, {"transaction": "00000001"}])
def test_the_log_is_read_by_its_numbers(filtered: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path, random.Random(1), 60)
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(tmp_path) as reader, closing(projector):
        projector.catch_up(reader)
        asked: list[str] = []
        reader._connection.set_trace_callback(asked.append)
        scope = records.LogScope("2026-03-14T00:00:00.000000Z", "2026-03-14T03:00:00.000000Z", **filtered)
        assert records.log(reader, projector.database.conn, scope, 5)
        assert records.seqs_of(reader, projector.database.conn, scope)
        reader._connection.set_trace_callback(None)
        assert asked
        for text in asked:
            lines = plan(reader._connection, text, ())
            assert lines[0].startswith("SEARCH"), lines
            assert not any(line.startswith("SCAN") for line in lines), lines


@pytest.mark.parametrize("seed", range(4))
def test_the_records_of_a_period_are_those_that_say_so_whatever_the_clock_did(seed: int, tmp_path: Path) -> None:
    write(tmp_path, random.Random(seed), 80)
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(tmp_path) as reader, closing(projector):
        projector.catch_up(reader)
        log = list(reader.records())
        moments = ["", *sorted({record.at for record in log})[::7]]
        for since in moments:
            for until in moments:
                scope = records.LogScope(since, until, target="jail:web")
                wanted = [one.seq for one in log if since <= one.at and (not until or one.at < until)]
                of_web = [one.seq for one in log if one.seq in wanted and one.target == "jail:web"]
                assert records.seqs_of(reader, projector.database.conn, scope) == of_web
                assert records.seqs_of(reader, projector.database.conn, records.LogScope(since, until)) == wanted
                assert [line["seq"] for line in records.log(reader, projector.database.conn, scope, 3)] == of_web[-3:]

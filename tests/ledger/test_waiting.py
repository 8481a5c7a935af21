"""Plans that wait and emergencies that owe an approval: what the ledger takes, and what it refuses for ever."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger import index, schema
from ledger.authority import Approval, Authority, Person, WindowState
from ledger.errors import IllegalEvent, TargetBusy
from ledger.events import (
    ApprovalGiven,
    ApprovalRefused,
    TransactionBegun,
    TransactionEvent,
    TransactionPlanned,
    TransactionRejected,
)
from ledger.lifecycle import State, TransactionStatus, apply
from ledger.reader import LedgerReader
from tests.ledger.fakes import TX, begun, committed, create, reopen, started, succeeded, whole_upgrade

PAUL = Person(uid=61001, login="paul", source="process")
EVA = Person(uid=61002, login="eva", source="process")
SUE = Person(uid=61003, login="sue", source="process")
EXPIRES, DUE = "2026-01-09T00:00:00.000000Z", "2026-01-04T00:00:00.000000Z"
NOW, LATER = "2026-01-03T00:00:00.000000Z", "2026-01-10T00:00:00.000000Z"
OPEN = WindowState(state="unrestricted")
SECOND = "ffff0002"


def planned(*, self_approval: bool = False) -> TransactionPlanned:
    wish = begun().model_dump(exclude={"type", "authority"})
    return TransactionPlanned(**wish, by=PAUL, required=True, self_approval=self_approval, expires_at=EXPIRES)


def given(by: Person = EVA, basis: str = "second-person", at: str = NOW) -> ApprovalGiven:
    return ApprovalGiven.model_validate({"by": by, "basis": basis, "reason": "read", "at": at})


def runs(basis: str = "second-person", approved_by: Person | None = EVA) -> TransactionBegun:
    authority = Authority.model_validate(
        {"basis": basis, "by": PAUL, "window": OPEN, "planned_by": PAUL, "approved_by": approved_by}
    )
    approval = None if approved_by is None else Approval(by=approved_by.login, at=NOW, meaning="read")
    return begun().model_copy(update={"authority": authority, "approval": approval})


def emergency() -> TransactionBegun:
    authority = Authority(basis="emergency", by=PAUL, window=OPEN, settle_by=DUE)
    return begun().model_copy(update={"authority": authority})


def answer(by: Person = EVA, basis: str = "second-person", at: str = NOW, *, late: bool = False) -> ApprovalGiven:
    return given(by, basis, at).model_copy(update={"retroactive": True, "late": late})


STEPS = whole_upgrade()[1:]


def fold(*events: TransactionEvent) -> TransactionStatus:
    status: TransactionStatus | None = None
    for event in events:
        status = apply(status, event)
    assert status is not None
    return status


def test_a_plan_waits_is_approved_and_begins_as_it_was_planned() -> None:
    assert fold(planned()).state is State.PLANNED
    assert fold(planned(), given()).state is State.APPROVED
    assert fold(planned(), given(), runs()).state is State.FORWARD
    end = fold(planned(), given(), runs(), *STEPS)
    assert (end.state, end.is_over, end.approval) == (
        State.COMMITTED, True, Approval(by="eva", at=NOW, meaning="read")
    )  # fmt: skip
    assert fold(planned(), ApprovalRefused(by=EVA, reason="no", at=NOW)).state is State.REJECTED
    assert fold(planned(), given(), ApprovalRefused(by=PAUL, reason="withdrawn", at=NOW)).state is State.REJECTED
    assert fold(planned(), TransactionRejected(cause="expired")).state is State.REJECTED
    assert not fold(planned()).is_open


def other(**changes: object) -> TransactionBegun:
    return runs().model_copy(update=changes)


REFUSED: dict[str, tuple[TransactionEvent, ...]] = {
    "another plan": (planned(), given(), other(plan={"padding": "y"})),
    "another target": (planned(), given(), other(target="jail:db")),
    "other steps": (planned(), given(), other(steps=("stop_jail",))),
    "another end": (planned(), given(), other(after={"release": "base@ffff0000"})),
    "another beginning": (planned(), given(), other(before=None)),
    "an approval that was not given": (planned(), runs()),
    "a self-approval that was not given": (planned(), runs("self", PAUL)),
    "the approval of somebody else": (planned(), given(), runs(approved_by=SUE)),
    "no authority at all": (planned(), given(), other(authority=None)),
    "a beginning of what was rejected": (planned(), TransactionRejected(cause="expired"), runs()),
    "a beginning of what was refused": (planned(), given(), ApprovalRefused(by=EVA, reason="no", at=NOW), runs()),
    "a second beginning": (planned(), given(), runs(), *STEPS, runs()),
    "a second approval": (planned(), given(), given(SUE)),
    "an approval after the beginning": (planned(), runs("none-required", None), given()),
    "an approval after the end": (planned(), given(), runs(), *STEPS, given(SUE)),
    "an approval of a plan that has expired": (planned(), given(at=LATER)),
    "an approval of one's own": (planned(), given(PAUL)),
    "an approval of one's own that says so": (planned(), given(PAUL, "self")),
    "an approval by way of the planner": (planned(), given(EVA.model_copy(update={"through": (PAUL.uid,)}))),
    "an approval by root": (planned(self_approval=True), given(Person(uid=0, login="root", source="uid"))),
    "an approval that claims to be of one's own": (planned(self_approval=True), given(EVA, "self")),
    "a step of a plan that waits": (planned(), given(), started(1)),
    "a second plan": (planned(), planned()),
    "a plan of what has begun": (begun(), planned()),
    "an approval of what was never planned": (begun(), given()),
    "an approval as the first record": (given(),),
    "a claim of an approval without a plan": (runs(),),
    "an answer to what is no emergency": (begun(), *STEPS, answer()),
    "an answer to a plan that waits": (planned(), answer()),
    "an answer before the end": (emergency(), answer()),
    "a second answer": (emergency(), *STEPS, answer(), answer()),
    "one's own answer that does not say so": (emergency(), *STEPS, answer(PAUL)),
    "a late answer that does not say so": (emergency(), *STEPS, answer(at=LATER)),
    "an answer in time that says that it is late": (emergency(), *STEPS, answer(late=True)),
    "a step after the end of an emergency": (emergency(), *STEPS, started(1)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_ledger_refuses(name: str) -> None:
    *before, last = REFUSED[name]
    if before:
        fold(*before)
    with pytest.raises(IllegalEvent):
        fold(*before, last)


def test_an_emergency_owes_an_approval_until_somebody_answers() -> None:
    owing = fold(emergency(), *STEPS)
    assert (owing.state, owing.is_over, owing.is_open) == (State.COMMITTED, False, False)
    assert owing.owed is not None
    settled = fold(emergency(), *STEPS, answer())
    assert (settled.is_over, settled.approval) == (True, Approval(by="eva", at=NOW, meaning="read"))
    refused = ApprovalRefused(by=EVA, reason="no", at=LATER, retroactive=True, late=True)
    disapproved = fold(emergency(), *STEPS, refused)
    assert (disapproved.state, disapproved.is_over, disapproved.approval) == (State.COMMITTED, True, None)
    assert fold(emergency(), *STEPS, answer(PAUL, "self")).is_over


def test_a_plan_that_waits_holds_no_target_and_outlives_the_process(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(SECOND, planned())
        writer.append(TX, *whole_upgrade())
        assert writer.open_transactions() == {}
        assert [(row.transaction, row.state) for row in writer.waiting()] == [(SECOND, State.PLANNED)]
    with reopen(tmp_path) as writer:
        writer.append(SECOND, given())
        assert [row.state for row in writer.waiting()] == [State.APPROVED]
        writer.append("ffff0003", begun(), started(1))
        with pytest.raises(TargetBusy):
            writer.append(SECOND, runs(), started(1))
        writer.append("ffff0003", succeeded(1), started(2), succeeded(2), committed())
        writer.append(SECOND, runs(), started(1))
        assert list(writer.open_transactions()) == [SECOND]
        assert writer.waiting() == []
    with reopen(tmp_path) as writer:
        assert list(writer.open_transactions()) == [SECOND]
        writer.append(SECOND, succeeded(1), started(2), succeeded(2), committed())
    with LedgerReader.open(tmp_path) as reader:
        report = reader.verify()
        assert (report.transactions, report.open_transactions) == (3, 0)
        row = next(row for row in reader.transactions() if row.transaction == SECOND)
        begins = next(record for record in reader.records(transaction=SECOND) if record.type == "transaction.begun")
        assert (row.begun_seq, row.approval) == (begins.seq, Approval(by="eva", at=NOW, meaning="read"))


def test_an_answer_to_an_emergency_leaves_the_settled_state_to_who_came_after(tmp_path: Path) -> None:
    after = begun().model_copy(update={"after": {"release": "base@aaaa0009"}})
    with create(tmp_path) as writer:
        writer.append(TX, emergency(), *STEPS)
        ended = writer.last_settled("jail:web")
        assert [(row.transaction, row.owed) for row in writer.owing()] == [(TX, DUE)]
        writer.append(SECOND, after, *STEPS)
        writer.append("ffff0003", begun(), started(1))  # an open transaction is no obstacle to an answer
        writer.append(TX, answer())
        assert writer.owing() == []
        found = writer.last_settled("jail:web")
        assert ended is not None
        assert found is not None
        assert (found.transaction, found.state) == (SECOND, {"release": "base@aaaa0009"})
    with LedgerReader.open(tmp_path) as reader:
        assert reader.verify().open_transactions == 1
        row = next(row for row in reader.transactions() if row.transaction == TX)
        assert (row.last_seq, row.owed, row.approval) == (
            ended.seq, None, Approval(by="eva", at=NOW, meaning="read")
        )  # fmt: skip


def test_an_approved_plan_that_goes_over_a_freeze_owes_an_approval_beside_the_one_it_has(tmp_path: Path) -> None:
    first = runs("emergency")
    assert first.authority is not None
    owing = first.model_copy(update={"authority": first.authority.model_copy(update={"settle_by": DUE})})
    with create(tmp_path) as writer:
        writer.append(TX, planned())
        said = Approval(by="eva", at=NOW, meaning='read "owed":')
        writer.append(TX, given().model_copy(update={"reason": said.meaning}))
        writer.append(TX, owing.model_copy(update={"approval": said}), *STEPS)
        assert [(row.approval, row.owed) for row in writer.owing()] == [(said, DUE)]
        writer.append(TX, answer(SUE))
        assert writer.owing() == []
    with LedgerReader.open(tmp_path) as reader:
        reader.verify()


def test_what_waits_is_found_without_a_look_at_the_history(tmp_path: Path) -> None:
    with create(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / schema.LEDGER_FILE)) as connection:
        for tail, name in ((index._WAITING, "waiting_transactions"), (index._OWING, "owing_transactions")):
            plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM transactions {tail}").fetchall()
            assert [name in row[3] for row in plan] == [True]


def test_a_ledger_of_before_these_indexes_is_read_as_well(tmp_path: Path) -> None:
    with create(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / schema.LEDGER_FILE, isolation_level=None)) as connection:
        connection.execute("DROP INDEX waiting_transactions")
        connection.execute("DROP INDEX owing_transactions")
    with reopen(tmp_path) as writer:
        writer.append(SECOND, planned())
        writer.append(TX, emergency(), *STEPS)
        assert ([row.transaction for row in writer.waiting()], len(writer.owing())) == ([SECOND], 1)
    with LedgerReader.open(tmp_path) as reader:
        reader.verify()


def test_what_waits_and_what_is_owed_is_verified_as_it_stands(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, emergency(), *STEPS)
        writer.append(SECOND, planned())
        writer.append("ffff0003", planned())
        writer.append("ffff0003", given())
    with LedgerReader.open(tmp_path) as reader:
        report = reader.verify()
        assert (report.transactions, report.open_transactions) == (3, 0)
        assert [row.transaction for row in reader.waiting()] == [SECOND, "ffff0003"]
        assert [row.transaction for row in reader.owing()] == [TX]

"""Whatever happens to a transaction, its status does not depend on how it was put together."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.authority import Authority, Person, WindowState
from ledger.codec import Record
from ledger.errors import IllegalEvent
from ledger.events import (
    ApprovalGiven,
    ApprovalRefused,
    OperatorDecided,
    RebootObserved,
    RebootRequested,
    RecoveryDecided,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepUndoFailed,
    StepUndone,
    StepUndoStarted,
    TransactionBegun,
    TransactionCommitted,
    TransactionEvent,
    TransactionPlanned,
    TransactionRejected,
    TransactionRolledBack,
    TransactionStuck,
    UnwindStarted,
)
from ledger.facts import JailStopped
from ledger.lifecycle import TransactionStatus, apply
from ledger.reader import LedgerReader
from tests.ledger.fakes import KIND, TX, begun, create, reopen


def candidates(status: TransactionStatus) -> Iterator[TransactionEvent]:
    """Events of every type, most of which cannot follow ``status``."""
    for step in range(1, len(status.steps) + 1):
        fact = JailStopped(before="running", after="stopped", jail="web")
        for attempt in range(1, 4):
            yield StepStarted(step=step, kind=KIND, attempt=attempt)
            yield StepSucceeded(step=step, kind=KIND, attempt=attempt, fact=fact, duration_ns=1)
            yield StepFailed(step=step, kind=KIND, attempt=attempt, error="no", duration_ns=None)
            yield StepUndoStarted(step=step, kind=KIND, attempt=attempt)
        yield StepSkipped(step=step, kind=KIND, reason="nothing to do")
        yield StepUndone(step=step, kind=KIND, duration_ns=None)
        yield StepUndoFailed(step=step, kind=KIND, error="no", duration_ns=1)
    yield UnwindStarted(cause="unhealthy")
    yield RebootRequested(boot_id="boot-1", target="slot-b")
    yield RebootObserved(boot_id="boot-2", booted="slot-b")
    yield RecoveryDecided(step=None, presence=None, action="run", reason="again")
    yield TransactionStuck(cause="foreign")
    yield TransactionCommitted(duration_ns=1, downtime_ns=None)
    yield TransactionRolledBack(cause="unhealthy", duration_ns=1, downtime_ns=None)
    yield TransactionRejected(cause="no space")
    for choice in ("continue", "unwind", "accept-planned", "accept-before"):
        yield OperatorDecided(choice=choice, by="eva", why="looked")


_PAUL, _EVA = (Person(uid=61000 + number, login=f"user{number}", source="process") for number in (1, 2))
_NOW, _THEN = "2026-01-03T00:00:00.000000Z", "2026-01-04T00:00:00.000000Z"


def _planned(steps: int) -> TransactionPlanned:
    wish = begun(steps=steps).model_dump(exclude={"type", "authority"})
    return TransactionPlanned(**wish, by=_PAUL, required=True, self_approval=True, expires_at=_THEN)


def _emergency(steps: int) -> TransactionBegun:
    authority = Authority(basis="emergency", by=_PAUL, window=WindowState(state="outside"), settle_by=_THEN)
    return begun(steps=steps).model_copy(update={"authority": authority})


def answers(status: TransactionStatus) -> Iterator[TransactionEvent]:
    """What persons may say, and beginnings of what was planned."""
    for by, basis in ((_EVA, "second-person"), (_PAUL, "self"), (_PAUL, "second-person")):
        for retroactive in (False, True):
            said = {"by": by, "reason": "read", "at": _NOW, "retroactive": retroactive}
            yield ApprovalGiven.model_validate({**said, "basis": basis})
            yield ApprovalRefused.model_validate(said)
    for basis in ("none-required", "second-person", "emergency"):
        authority = Authority.model_validate(
            {
                "basis": basis,
                "by": _PAUL,
                "window": WindowState(state="unrestricted"),
                "settle_by": _THEN if basis == "emergency" else None,
            }
        )
        first = begun(steps=len(status.steps))
        yield first.model_copy(update={"authority": authority, "approval": status.approval})


def legal(status: TransactionStatus) -> list[tuple[TransactionEvent, TransactionStatus]]:
    """The events that may follow, with the status after each."""
    found = []
    for event in (*candidates(status), *answers(status)):
        try:
            found.append((event, apply(status, event)))
        except IllegalEvent:
            continue
    return found


@st.composite
def histories(draw: st.DrawFn) -> list[TransactionEvent]:
    """A legal history of any length."""
    steps = draw(st.integers(0, 3))
    firsts: list[TransactionEvent] = [begun(steps=steps), _planned(steps), _emergency(steps)]
    first = draw(st.sampled_from(firsts))
    status = apply(None, first)
    events: list[TransactionEvent] = [first]
    for _ in range(draw(st.integers(0, 25))):
        choices = legal(status)
        if not choices:
            break
        event, status = draw(st.sampled_from(choices))
        events.append(event)
    return events


def folded(events: list[TransactionEvent]) -> TransactionStatus:
    status: TransactionStatus | None = None
    for event in events:
        status = apply(status, event)
    assert status is not None
    return status


@settings(max_examples=60, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_a_status_is_the_same_step_by_step_and_from_the_stream(events: list[TransactionEvent], dice: object) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with create(directory) as writer:
            left = list(events)
            while left:
                size = dice.randint(1, 5)  # type: ignore[attr-defined]
                batch, left = left[:size], left[size:]
                writer.append(TX, *batch)
                assert writer.status(TX) == folded(events[: len(events) - len(left)])
        expected = folded(events)
        with reopen(directory) as writer:
            assert writer.status(TX) == expected
            assert list(writer.open_transactions()) == ([TX] if expected.is_open else [])
        with LedgerReader.open(directory) as reader:
            records = list(reader.records(transaction=TX))
            assert [record.event for record in records if isinstance(record, Record)] == events
            assert [row.state for row in reader.transactions()] == [expected.state]
            reader.verify()


@settings(max_examples=200, deadline=None)
@given(histories())
def test_a_transaction_has_a_way_on_until_it_is_over(events: list[TransactionEvent]) -> None:
    status = folded(events)
    assert bool(legal(status)) != status.is_over

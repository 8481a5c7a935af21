"""Whatever happens to a transaction, its status does not depend on how it was put together."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import Record
from ledger.errors import IllegalEvent
from ledger.events import (
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
    TransactionCommitted,
    TransactionEvent,
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


def legal(status: TransactionStatus) -> list[tuple[TransactionEvent, TransactionStatus]]:
    """The events that may follow, with the status after each."""
    found = []
    for event in candidates(status):
        try:
            found.append((event, apply(status, event)))
        except IllegalEvent:
            continue
    return found


@st.composite
def histories(draw: st.DrawFn) -> list[TransactionEvent]:
    """A legal history of any length."""
    first = begun(steps=draw(st.integers(0, 3)))
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
def test_a_transaction_that_is_open_always_has_a_way_on(events: list[TransactionEvent]) -> None:
    status = folded(events)
    assert bool(legal(status)) == status.is_open

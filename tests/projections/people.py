"""What persons say in random histories: plans that wait, approvals, refusals, emergencies and answers to them."""

import random
from datetime import datetime, timedelta

from ledger.authority import Approval, Authority, Person, WindowState
from ledger.errors import IllegalEvent
from ledger.events import (
    ApprovalGiven,
    ApprovalRefused,
    TransactionBegun,
    TransactionEvent,
    TransactionPlanned,
    TransactionRejected,
)
from ledger.lifecycle import ENDS, WAITING, TransactionStatus, apply

PAUL = Person(uid=1001, login="paul", source="login-uid")
EVA = Person(uid=1002, login="eva", source="login-uid")
WINDOWS = (WindowState(state="unrestricted"), WindowState(state="outside", next="2026-03-15T01:00+01:00"))


def stamp(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def waits_for_a_word(status: TransactionStatus) -> bool:
    """Whether it is a plan, or an emergency that has ended and that nobody has answered for."""
    return status.state in WAITING or (status.owed is not None and status.state in ENDS)


def put_off(order: TransactionBegun, now: datetime, chance: random.Random) -> TransactionPlanned:
    """The same order as a plan that waits."""
    wish = order.model_dump(exclude={"type", "authority"})
    expires_at = stamp(now + timedelta(seconds=chance.choice([5, 300])))
    return TransactionPlanned(
        **wish, by=PAUL, required=chance.random() < 0.5, self_approval=chance.random() < 0.5, expires_at=expires_at
    )


def on_the_word_of(
    order: TransactionBegun, basis: str, now: datetime, chance: random.Random, approval: Approval | None = None
) -> TransactionBegun:
    """The same order, given on that basis."""
    settle_by = stamp(now + timedelta(seconds=chance.choice([5, 300]))) if basis == "emergency" else None
    said = {"basis": basis, "by": PAUL, "window": chance.choice(WINDOWS), "settle_by": settle_by}
    authority = Authority.model_validate({**said, "approved_by": None if approval is None else EVA})
    return order.model_copy(update={"authority": authority, "approval": approval})


def next_word(status: TransactionStatus, now: datetime, chance: random.Random, *, is_free: bool) -> TransactionEvent:
    """What may be said of it next; a plan begins only where ``is_free``."""
    words = [*_answers(status, stamp(now)), *(_beginnings(status, now, chance) if is_free else [])]
    for event in chance.sample(words, len(words)):
        try:
            apply(status, event)
        except IllegalEvent:
            continue
        return event
    return TransactionRejected(cause="it has expired")


def _answers(status: TransactionStatus, at: str) -> list[TransactionEvent]:
    owed = status.owed
    after = {} if owed is None else {"retroactive": True, "late": at > (owed.settle_by or "")}
    events: list[TransactionEvent] = [
        ApprovalRefused.model_validate({"by": EVA, "reason": "not now", "at": at, **after}),
        ApprovalGiven.model_validate({"by": EVA, "basis": "second-person", "reason": "read", "at": at, **after}),
        ApprovalGiven.model_validate({"by": PAUL, "basis": "self", "reason": "read it myself", "at": at, **after}),
    ]
    return events


def _beginnings(status: TransactionStatus, now: datetime, chance: random.Random) -> list[TransactionEvent]:
    planned = status.planned
    if planned is None:
        return []
    wish = planned.model_dump(include=set(TransactionBegun.model_fields) - {"type", "authority"})
    order = TransactionBegun(**wish)
    return [
        on_the_word_of(order, basis, now, chance, status.approval)
        for basis in ("second-person", "self", "none-required", "emergency")
    ]

"""What may happen to a plan that waits for its approval, and to an emergency that owes one."""

from dataclasses import replace

from ledger.authority import Approval
from ledger.errors import IllegalEvent
from ledger.events import (
    ApprovalGiven,
    ApprovalRefused,
    TransactionBegun,
    TransactionEvent,
    TransactionPlanned,
    TransactionRejected,
)
from ledger.status import ENDS, WAITING, State, TransactionStatus, begin

#: What begins as it was planned.
_FROZEN = ("kind", "target", "steps", "before", "after", "plan")


def wait(event: TransactionPlanned) -> TransactionStatus:
    """The status of a plan that nobody has answered yet."""
    return replace(begin(event), state=State.PLANNED, planned=event)


def require_fresh_authority(event: TransactionBegun) -> None:
    """What was never planned cannot have been approved."""
    basis = event.authority.basis if event.authority else None
    require(basis not in ("second-person", "self"), event, "it claims an approval, and never waited for one")


def leave_the_queue(
    status: TransactionStatus, planned: TransactionPlanned, event: TransactionEvent
) -> TransactionStatus:
    """The plan begins, exactly as it was planned, or is rejected."""
    match event:
        case TransactionRejected():
            return replace(status, state=State.REJECTED, cause=event.cause)
        case TransactionBegun():
            is_same = all(getattr(event, key) == getattr(planned, key) for key in _FROZEN)
            require(is_same, event, "it is not what was planned")
            authority = event.authority
            require(authority is not None, event, "it does not say on whose word")
            approved = authority is not None and authority.basis in ("second-person", "self")
            require(status.state is State.APPROVED or not approved, event, "the plan was not approved")
            require(event.approval == status.approval, event, "the approval is not the one that was given")
            return begin(event)
        case _:
            raise IllegalEvent(f"cannot record {event.type}: the plan waits to be approved and run")


def answer(status: TransactionStatus, event: ApprovalGiven | ApprovalRefused) -> TransactionStatus:
    """A person's word on a plan that waits, or on an emergency."""
    if event.retroactive:
        return _settle(status, event)
    planned = status.planned
    if planned is None:
        raise IllegalEvent(f"cannot record {event.type}: the transaction does not wait for approval")
    if isinstance(event, ApprovalRefused):
        require(status.state in WAITING, event, f"the plan is {status.state}")
        return replace(status, state=State.REJECTED, cause=f"refused by {event.by.login}: {event.reason}")
    require(status.state is State.PLANNED, event, f"the plan is {status.state}")
    require(event.at <= planned.expires_at, event, "the plan has expired")
    is_self = event.by.may_be(planned.by)
    require(is_self == (event.basis == "self"), event, "it does not tell rightly whether the planner approves")
    require(planned.self_approval or not is_self, event, "the policy lets nobody approve a plan of their own")
    return replace(status, state=State.APPROVED, approval=_approval(event))


def _settle(status: TransactionStatus, event: ApprovalGiven | ApprovalRefused) -> TransactionStatus:
    """A person's word on an emergency, which has begun and may have ended."""
    owed = status.owed
    if owed is None:
        raise IllegalEvent(f"cannot record {event.type}: the transaction owes no approval")
    require(status.state in ENDS, event, "the transaction has not ended yet")
    require(event.late == (event.at > (owed.settle_by or "")), event, "it does not tell rightly whether it is late")
    if isinstance(event, ApprovalRefused):
        return replace(status, owed=None)
    is_self = any(event.by.may_be(one) for one in (owed.by, owed.planned_by) if one is not None)
    require(is_self == (event.basis == "self"), event, "it does not tell rightly who approves")
    return replace(status, owed=None, approval=_approval(event))


def _approval(event: ApprovalGiven) -> Approval:
    return Approval(by=event.by.login, at=event.at, meaning=event.reason)


def require(condition: bool, event: TransactionEvent, cause: str) -> None:
    """Raise IllegalEvent unless ``condition`` holds."""
    if not condition:
        raise IllegalEvent(f"cannot record {event.type}: {cause}")

"""The gate before a transaction: may it begin, and on whose word? Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from commands.errors import Refused, UsageError
from commands.policy.rules import RECOVERING, Rules
from ledger.authority import Authority, Person, WindowState

#: What makes `rootswap plan NAME` a plan of that kind.
_OPTIONS = {"rollback": " --rollback", "start": " --start", "stop": " --stop", "destroy-release": " --destroy"}
_VERBS = {"rollback": "roll back", "destroy-release": "destroy"}


@dataclass(frozen=True, slots=True)
class Waited:
    """A plan that was recorded before it is run: by whom, under which promise, and who has approved it, if anybody."""

    planned_by: Person
    required: bool
    expires_at: str
    approved_by: Person | None = None
    is_self_approved: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to begin. ``name`` is what it is called in a refusal, ``reason`` why it is done."""

    kind: str
    name: str
    transaction: str
    by: Person
    reason: str | None
    is_emergency: bool
    waited: Waited | None = None


def admit(rules: Rules, wish: Wish, now: datetime) -> Authority:
    """On whose word the transaction begins. Raises Refused, or UsageError for an emergency without a reason.

    An emergency goes over what the rules ask for, and is one only where they do ask: it then owes an approval.
    """
    window = rules.calendar.look(now)
    waited = wish.waited
    authority = Authority(
        basis="none-required",
        by=wish.by,
        window=window,
        planned_by=waited.planned_by if waited else None,
        approved_by=waited.approved_by if waited else None,
        policy=rules.digest,
    )
    if wish.kind in RECOVERING:
        return authority.model_copy(update={"basis": "recovery"})
    if waited is not None and stamp(now) > waited.expires_at:
        raise Refused(
            f"cannot run plan {wish.transaction}: it has expired at {waited.expires_at}", remedy="plan it anew"
        )
    obstacle = _unapproved(rules, wish) or _outside(window, wish)
    if obstacle is None:
        return authority.model_copy(update={"basis": _basis(waited)})
    if not wish.is_emergency:
        raise obstacle
    if not (wish.reason or "").strip():
        raise UsageError("cannot go over the policy without a reason", remedy='add --reason "…"')
    settle_by = stamp(now + rules.settle_within)
    return authority.model_copy(update={"basis": "emergency", "settle_by": settle_by})


def _basis(waited: Waited | None) -> str:
    if waited is None or waited.approved_by is None:
        return "none-required"
    return "self" if waited.is_self_approved else "second-person"


def _unapproved(rules: Rules, wish: Wish) -> Refused | None:
    """The stricter of the rules of today and those under which a plan was made: a configuration can be edited."""
    waited = wish.waited
    if waited is None:
        if not rules.require_approval:
            return None
        return Refused(
            f"cannot {_verb(wish)} {wish.name}: the policy wants the approval of a second person",
            remedy=f"plan it with `rootswap plan {wish.name}{_OPTIONS.get(wish.kind, '')}`, "
            "or go over it with --emergency --reason",
        )
    if waited.approved_by is None and (rules.require_approval or waited.required):
        return Refused(
            f"cannot run plan {wish.transaction}: nobody has approved it yet",
            remedy=f'another login approves it with `rootswap approve {wish.transaction} --reason "…"`',
        )
    if waited.is_self_approved and not rules.self_approval:
        return Refused(
            f"cannot run plan {wish.transaction}: {waited.planned_by.login} has planned and approved it, which the "
            "policy does not allow any more",
            remedy="plan it anew",
        )
    return None


def _outside(window: WindowState, wish: Wish) -> Refused | None:
    opens = f"the next window opens at {window.next}" if window.next else "no window is in sight"
    after = f"changes are allowed again from {window.next} on" if window.next else opens
    over = "go over it with --emergency --reason"
    match window.state:
        case "frozen":
            return Refused(
                f"cannot {_verb(wish)} {wish.name}: changes are frozen ({window.name}: {window.note}); {after}",
                remedy=f"wait, or {over}",
            )
        case "outside":
            return Refused(
                f"cannot {_verb(wish)} {wish.name}: it is outside of the maintenance windows; {opens}",
                remedy=f"wait for it, or {over}",
            )
        case _:
            return None


def _verb(wish: Wish) -> str:
    return _VERBS.get(wish.kind, wish.kind)


def stamp(moment: datetime) -> str:
    """A moment as the ledger writes it: UTC with microseconds, so that texts compare as times do."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

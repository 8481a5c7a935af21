"""Plans that wait: recorded, approved or refused, and begun exactly as they were recorded, or not at all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from commands.config import Config
from commands.drivers.base import Drivers
from commands.errors import Refused, UsageError
from commands.policy.gate import stamp
from commands.policy.rules import Rules, rules_for
from commands.transactions.engine import ordered
from commands.transactions.gatekeeper import subject_of
from commands.transactions.plan import JailSettled, Plan, Purpose, plan_from_json, plan_to_json
from commands.transactions.requests import Requests
from ledger.authority import Person
from ledger.codec import Record
from ledger.events import ApprovalGiven, ApprovalRefused, TransactionPlanned, TransactionRejected
from ledger.lifecycle import ENDS, WAITING, State, TransactionStatus
from ledger.writer import LedgerWriter

#: Of the ways in which a fresh plan differs from the frozen one, so many are named.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Answered:
    """What somebody said of a transaction, and where it stands now."""

    transaction: str
    target: str
    kind: str
    answer: Literal["approved", "refused"]
    basis: Literal["second-person", "self"]
    is_retroactive: bool
    is_late: bool


class Proposals:
    """Plans that wait, in one ledger. ``person`` acts; ``seal`` is called after each record.

    Raises Refused for what the policy or the state of things does not allow, UsageError for what is not there.
    """

    def __init__(
        self,
        ledger: LedgerWriter,
        requests: Requests,
        config: Config,
        person: Person,
        drivers: Drivers,
        seal: Callable[[], str | None],
    ) -> None:
        self._ledger = ledger
        self._requests = requests
        self._config = config
        self._person = person
        self._drivers = drivers
        self._clock = drivers.clock
        self._seal = seal

    def propose(self, plan: Plan, purpose: Purpose) -> TransactionPlanned:
        """Record a plan that waits. It holds no target: others may change it meanwhile, and the plan is then stale."""
        rules = self._rules(plan)
        event = TransactionPlanned.model_validate(
            {
                **ordered(plan, purpose),
                "by": self._person,
                "required": rules.require_approval,
                "self_approval": rules.self_approval,
                "expires_at": stamp(self._clock.now() + rules.plan_expires),
                "files": self._files(plan),
            }
        )
        self._ledger.append(plan.transaction, event)
        self._seal()
        return event

    def approve(self, prefix: str, reason: str) -> Answered:
        """Allow a plan that waits, or answer for an emergency. Never for one's own, unless the policy lets one."""
        transaction, status = self._find(prefix)
        plan = plan_from_json(status.plan)
        if status.owed is not None:
            return self._settle(transaction, status, reason, is_approved=True)
        planned = self._waiting(transaction, status)
        if status.state is State.APPROVED:
            raise Refused(f"cannot approve plan {transaction}: it is approved already", remedy=_run(transaction))
        now = stamp(self._clock.now())
        if now > planned.expires_at:
            self._reject(transaction, f"expired at {planned.expires_at}")
            raise Refused(
                f"cannot approve plan {transaction}: it has expired at {planned.expires_at}", remedy="plan it anew"
            )
        basis = self._basis([planned.by])
        if basis == "self" and not (planned.self_approval and self._rules(plan).self_approval):
            raise self._own(transaction, planned.by)
        self._ledger.append(transaction, ApprovalGiven(by=self._person, basis=basis, reason=reason, at=now))
        self._seal()
        return Answered(transaction, plan.target, plan.kind, "approved", basis, is_retroactive=False, is_late=False)

    def reject(self, prefix: str, reason: str) -> Answered:
        """Refuse a plan that waits, one's own too, or disapprove of an emergency."""
        transaction, status = self._find(prefix)
        if status.owed is not None:
            return self._settle(transaction, status, reason, is_approved=False)
        planned = self._waiting(transaction, status)
        at = stamp(self._clock.now())
        self._ledger.append(transaction, ApprovalRefused(by=self._person, reason=reason, at=at))
        self._seal()
        basis = self._basis([planned.by])
        return Answered(transaction, status.target, status.kind, "refused", basis, is_retroactive=False, is_late=False)

    def ready(self, prefix: str) -> tuple[Plan, Purpose]:
        """The plan as it was recorded and why, after another preflight. Raises Refused for one that is stale.

        Everything is looked at again as for a new plan, and the plan that comes of it has to be the recorded one.
        """
        transaction, status = self._find(prefix)
        planned = self._waiting(transaction, status)
        plan = plan_from_json(status.plan)
        self._require_unchanged(transaction, plan)
        self._require_same_files(transaction, plan, planned)
        fresh = self._requests.again(plan)
        stored = plan_to_json(fresh) if fresh is not None else {}
        if stored != plan_to_json(plan):
            raise Refused(
                f"cannot run plan {transaction}: {subject_of(plan)} is not as it was when it was planned"
                + ("" if fresh is None else f": {_named(status.plan, stored)}"),
                remedy="plan it anew",
            )
        return plan, Purpose(reason=planned.reason, ticket=planned.ticket)

    def _settle(self, transaction: str, status: TransactionStatus, reason: str, *, is_approved: bool) -> Answered:
        owed = status.owed
        if owed is None or status.state not in ENDS:
            raise Refused(
                f"cannot answer for transaction {transaction}: it is still {status.state}",
                remedy="wait for its end; run `rootswap recover` if nobody works on it",
            )
        basis = self._basis([one for one in (owed.by, owed.planned_by) if one is not None])
        plan = plan_from_json(status.plan)
        if is_approved and basis == "self" and not self._rules(plan).self_approval:
            raise self._own(transaction, owed.by)
        at = stamp(self._clock.now())
        late = at > (owed.settle_by or "")
        said = {"by": self._person, "reason": reason, "at": at, "retroactive": True, "late": late}
        if is_approved:
            self._ledger.append(transaction, ApprovalGiven.model_validate({**said, "basis": basis}))
        else:
            self._ledger.append(transaction, ApprovalRefused.model_validate(said))
        self._seal()
        answer: Literal["approved", "refused"] = "approved" if is_approved else "refused"
        return Answered(transaction, plan.target, plan.kind, answer, basis, is_retroactive=True, is_late=late)

    def _basis(self, others: list[Person]) -> Literal["second-person", "self"]:
        return "self" if any(self._person.may_be(other) for other in others) else "second-person"

    def _own(self, transaction: str, other: Person) -> Refused:
        me = self._person
        if me.uid == 0 or other.uid == 0:
            who = "you are" if me.uid == 0 else "whoever planned it was"
            return Refused(
                f"cannot approve {transaction}: {who} only root, and anybody may be behind root",
                remedy="log in as yourself and use sudo, so that the kernel knows who you are",
            )
        return Refused(
            f"cannot approve {transaction}: {other.login} has made it, and you are {me.login}"
            + (f" (by way of {_logins(me)})" if me.through else ""),
            remedy="somebody else has to approve it, from a login of their own",
        )

    def _find(self, prefix: str) -> tuple[str, TransactionStatus]:
        """The plan or emergency whose identifier begins so."""
        known = {row.transaction for row in (*self._ledger.waiting(), *self._ledger.owing())}
        found = sorted(name for name in known if name.startswith(prefix)) if prefix else []
        exact = self._ledger.find_status(prefix)
        if exact is not None and (prefix in known or not found):
            return prefix, exact
        if len(found) != 1:
            cause = f"it may be {', '.join(found)}" if found else "none that waits begins so"
            raise UsageError(f"cannot find plan {prefix[:60]!r}: {cause}", remedy="see `rootswap plans`")
        return found[0], self._ledger.status(found[0])

    def _waiting(self, transaction: str, status: TransactionStatus) -> TransactionPlanned:
        if status.state not in WAITING or status.planned is None:
            cause = f": {status.cause}" if status.state is State.REJECTED and status.cause else ""
            raise Refused(
                f"cannot use plan {transaction}: it does not wait any more, it is {status.state}{cause}",
                remedy=f"see `rootswap plans`, or `rootswap audit log --tx {transaction}`",
            )
        return status.planned

    def _require_unchanged(self, transaction: str, plan: Plan) -> None:
        """A target that came back to the state of before has changed all the same: the approval was for then."""
        last = self._ledger.last_settled(plan.target)
        planned_at = next(
            record.seq for record in self._ledger.records(transaction) if isinstance(record.event, TransactionPlanned)
        )
        if last is not None and last.seq > planned_at:
            raise Refused(
                f"cannot run plan {transaction}: transaction {last.transaction} has changed "
                f"{plan.target.partition(':')[2]} since it was planned",
                remedy="plan it anew",
            )

    def _require_same_files(self, transaction: str, plan: Plan, planned: TransactionPlanned) -> None:
        for path, digest in self._files(plan).items():
            if planned.files.get(path) != digest:
                raise Refused(
                    f"cannot run plan {transaction}: {path} was changed since it was planned", remedy="plan it anew"
                )

    def _files(self, plan: Plan) -> dict[str, str]:
        """The SHA-256 of the files that the plan names and that a runtime reads when it starts the jail."""
        settings = plan.after.deployment.jail.settings if isinstance(plan.after, JailSettled) else None
        return {} if settings is None else {settings: sha256(self._drivers.read(settings)).hexdigest()}

    def _reject(self, transaction: str, cause: str) -> tuple[Record, ...]:
        records = self._ledger.append(transaction, TransactionRejected(cause=cause))
        self._seal()
        return records

    def _rules(self, plan: Plan) -> Rules:
        return rules_for(self._config, plan.kind, plan.target)


def _run(transaction: str) -> str:
    return f"run it with `rootswap run {transaction}`"


def _logins(person: Person) -> str:
    return ", ".join(f"uid {uid}" for uid in person.through)


def _named(frozen: object, fresh: object) -> str:
    """Where two plans differ, by the names of the fields alone: what they hold may be nobody's business."""
    places = list(dict.fromkeys(_differing(frozen, fresh, "")))
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return ", ".join(places[:_NAMED]) + more + (" differs" if len(places) == 1 else " differ")


def _differing(frozen: object, fresh: object, at: str) -> Iterator[str]:
    if isinstance(frozen, dict) and isinstance(fresh, dict):
        for key in sorted(frozen.keys() | fresh.keys()):
            yield from _differing(frozen.get(key), fresh.get(key), f"{at}.{key}" if at else str(key))
    elif frozen != fresh:
        yield at

"""The gatekeeper: asks the policy before a transaction begins, with what the ledger knows of its plan."""

from collections.abc import Sequence

from commands.config import Config
from commands.policy.gate import Waited, Wish, admit
from commands.policy.rules import rules_for
from commands.transactions.plan import Plan, Purpose
from ledger.authority import Authority, Person
from ledger.clock import Clock
from ledger.codec import Record
from ledger.events import ApprovalGiven, TransactionPlanned
from ledger.writer import LedgerWriter


class Gatekeeper:
    """Stands before the engine: nothing begins without it.

    Who approved a plan it reads from the ledger, never from its caller. Raises Refused and UsageError.
    """

    def __init__(self, ledger: LedgerWriter, config: Config, person: Person, clock: Clock) -> None:
        self._ledger = ledger
        self._config = config
        self._clock = clock
        #: Who acts.
        self.person = person

    def admit(self, plan: Plan, purpose: Purpose) -> Purpose:
        """The purpose with the authority on which ``plan`` begins, and the approval that was given to it."""
        status = self._ledger.find_status(plan.transaction)
        records = () if status is None else self._ledger.records(plan.transaction)
        authority = self._ask(plan.kind, plan.target, subject_of(plan), plan.transaction, purpose, _waited(records))
        approval = purpose.approval if status is None else status.approval
        return purpose.model_copy(update={"authority": authority, "approval": approval})

    def check(self, plan: Plan, purpose: Purpose) -> None:
        """Raise what ``admit`` would raise for a plan that was just made: before the first of several begins."""
        self._ask(plan.kind, plan.target, subject_of(plan), plan.transaction, purpose, None)

    def check_target(self, kind: str, target: str, purpose: Purpose) -> None:
        """As ``check``, before there is a plan."""
        self._ask(kind, target, target.partition(":")[2], "", purpose, None)

    def _ask(
        self, kind: str, target: str, name: str, transaction: str, purpose: Purpose, waited: Waited | None
    ) -> Authority:
        rules = rules_for(self._config, kind, target)
        wish = Wish(
            kind=kind,
            name=name,
            transaction=transaction,
            by=self.person,
            reason=purpose.reason,
            is_emergency=purpose.is_emergency,
            waited=waited,
        )
        return admit(rules, wish, self._clock.now())


def subject_of(plan: Plan) -> str:
    """What the plan changes, as people name it on the command line."""
    return plan.released or plan.target.partition(":")[2]


def _waited(records: Sequence[Record]) -> Waited | None:
    """What the records say of a plan that waited."""
    planned = next((one.event for one in records if isinstance(one.event, TransactionPlanned)), None)
    if planned is None:
        return None
    given = next((one.event for one in records if isinstance(one.event, ApprovalGiven)), None)
    return Waited(
        planned_by=planned.by,
        required=planned.required,
        expires_at=planned.expires_at,
        approved_by=given.by if given else None,
        is_self_approved=given is not None and given.basis == "self",
    )

"""What can happen to a transaction.

An event is a noun and a past participle. Its stored type is a short literal (``step.started``) and an integer schema
version, never a Python path, so that code can move without the log noticing. An *intent* is written before the effect
that it names; an *outcome* after it. Steps are numbered from 1, as people read them; durations are nanoseconds.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, JsonValue
from pydantic_core import CoreSchema, core_schema

from ledger.authority import Approval, Authority, Person
from ledger.facts import Fact
from ledger.names import Target


class _Opaque:
    """JSON that is nobody's business here: what is read was parsed, what is written is refused by the encoder."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Any object; to look at each value within, as JsonValue does, takes longer than all the rest of a record."""
        return core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())


JsonObject = Annotated[dict[str, JsonValue], _Opaque]


class EventBase(BaseModel):
    """A frozen value with a stored type and a schema version."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    schema_version: ClassVar[int] = 1


class Order(EventBase):
    """The whole plan, with every decision taken.

    ``before`` and ``after`` are the settled state of the target at the two ends; ``plan`` is the plan as the write side
    encodes it, opaque here; ``steps`` names the kinds of its steps in order.
    """

    kind: str
    target: Target
    steps: tuple[str, ...]
    before: JsonObject | None
    after: JsonObject | None
    plan: JsonObject
    reason: str | None = None
    ticket: str | None = None
    approval: Approval | None = None


class TransactionPlanned(Order):
    """A plan that waits for its approval. It holds no target, and begins as it is or not at all.

    After ``expires_at`` (UTC) it cannot begin. ``required`` is whether the policy asked for an approval when it was
    planned, ``self_approval`` whether it let the planner give it; ``files`` has the SHA-256 of files that it names.
    """

    type: Literal["transaction.planned"] = "transaction.planned"
    by: Person
    required: bool
    self_approval: bool
    expires_at: str
    files: dict[str, str] = {}


class ApprovalGiven(EventBase):
    """Somebody allows a plan, or, ``retroactive``, an emergency; ``late`` when that was overdue."""

    type: Literal["approval.given"] = "approval.given"
    by: Person
    basis: Literal["second-person", "self"]
    reason: str
    at: str
    retroactive: bool = False
    late: bool = False


class ApprovalRefused(EventBase):
    """Somebody refuses a plan, which is then rejected, or, ``retroactive``, disapproves of an emergency."""

    type: Literal["approval.refused"] = "approval.refused"
    by: Person
    reason: str
    at: str
    retroactive: bool = False
    late: bool = False


class TransactionBegun(Order):
    """The order is given: recovery works from this and never plans again. Version 1 had no ``authority``."""

    schema_version: ClassVar[int] = 2
    type: Literal["transaction.begun"] = "transaction.begun"
    authority: Authority | None = None


class TransactionCommitted(EventBase):
    """The host is exactly as planned. ``downtime_ns`` is None where nothing was stopped or no clock spans it."""

    type: Literal["transaction.committed"] = "transaction.committed"
    duration_ns: int | None
    downtime_ns: int | None


class TransactionRolledBack(EventBase):
    """The host is exactly as before."""

    type: Literal["transaction.rolled-back"] = "transaction.rolled-back"
    cause: str
    duration_ns: int | None
    downtime_ns: int | None


class TransactionStuck(EventBase):
    """Neither end can be reached without a person."""

    type: Literal["transaction.stuck"] = "transaction.stuck"
    cause: str


class TransactionRejected(EventBase):
    """The transaction ended before its first step touched anything."""

    type: Literal["transaction.rejected"] = "transaction.rejected"
    cause: str


class StepStarted(EventBase):
    """Intent: from here on, the step may have run."""

    type: Literal["step.started"] = "step.started"
    step: int
    kind: str
    attempt: int


class StepSucceeded(EventBase):
    """The step is done; ``observed`` when recovery found it done rather than saw it run."""

    type: Literal["step.succeeded"] = "step.succeeded"
    step: int
    kind: str
    attempt: int
    fact: Fact
    duration_ns: int | None
    observed: bool = False


class StepFailed(EventBase):
    """The step did not get through; what it left is for its undo to find out."""

    type: Literal["step.failed"] = "step.failed"
    step: int
    kind: str
    attempt: int
    error: str
    duration_ns: int | None


class StepSkipped(EventBase):
    """The step had nothing to do."""

    type: Literal["step.skipped"] = "step.skipped"
    step: int
    kind: str
    reason: str


class UnwindStarted(EventBase):
    """The transaction turns back: the steps so far are undone, last first."""

    type: Literal["unwind.started"] = "unwind.started"
    cause: str


class StepUndoStarted(EventBase):
    """Intent: from here on, the undo of the step may have run."""

    type: Literal["step.undo-started"] = "step.undo-started"
    step: int
    kind: str
    attempt: int


class StepUndone(EventBase):
    """Nothing of the step is left; ``observed`` when there was nothing to undo."""

    type: Literal["step.undone"] = "step.undone"
    step: int
    kind: str
    duration_ns: int | None
    observed: bool = False


class StepUndoFailed(EventBase):
    """The undo did not get through."""

    type: Literal["step.undo-failed"] = "step.undo-failed"
    step: int
    kind: str
    error: str
    duration_ns: int | None


class RebootRequested(EventBase):
    """Intent: the host is about to boot ``target``; ``boot_id`` is the boot that asked."""

    type: Literal["reboot.requested"] = "reboot.requested"
    boot_id: str
    target: str


class RebootObserved(EventBase):
    """The host is up again: ``booted`` is what it runs now."""

    type: Literal["reboot.observed"] = "reboot.observed"
    boot_id: str
    booted: str


class RecoveryDecided(EventBase):
    """What recovery is about to do with an open transaction, and why."""

    type: Literal["recovery.decided"] = "recovery.decided"
    step: int | None
    presence: str | None
    action: str
    reason: str


class OperatorDecided(EventBase):
    """A person's word on a stuck transaction: the only way out of it."""

    type: Literal["operator.decided"] = "operator.decided"
    choice: Literal["continue", "unwind", "accept-planned", "accept-before"]
    by: str
    why: str


class LedgerCreated(EventBase):
    """The first record of every ledger. ``key`` is the public key that will sign its checkpoints; None for none yet."""

    schema_version: ClassVar[int] = 2
    type: Literal["ledger.created"] = "ledger.created"
    key: str | None = None


class RecoveryStarted(EventBase):
    """A recovery run looks at the transactions that are open."""

    type: Literal["recovery.started"] = "recovery.started"
    boot_id: str
    open: tuple[str, ...]


class KeyRotated(EventBase):
    """Checkpoints from here on are signed with ``key``; ``signature`` is by the ``previous`` one, if there was one."""

    type: Literal["key.rotated"] = "key.rotated"
    previous: str | None
    key: str
    signature: str | None


class CopyFailed(EventBase):
    """The checkpoint of ``size`` records did not get to a sink; it is owed to it."""

    type: Literal["copy.failed"] = "copy.failed"
    sink: str
    size: int
    cause: str


class CopyResumed(EventBase):
    """A sink that had failed has got everything up to the checkpoint of ``size`` records."""

    type: Literal["copy.resumed"] = "copy.resumed"
    sink: str
    size: int


TransactionEvent = (
    TransactionPlanned
    | ApprovalGiven
    | ApprovalRefused
    | TransactionBegun
    | TransactionCommitted
    | TransactionRolledBack
    | TransactionStuck
    | TransactionRejected
    | StepStarted
    | StepSucceeded
    | StepFailed
    | StepSkipped
    | UnwindStarted
    | StepUndoStarted
    | StepUndone
    | StepUndoFailed
    | RebootRequested
    | RebootObserved
    | RecoveryDecided
    | OperatorDecided
)
#: Events of the ledger as a whole; they belong to no transaction.
LedgerEvent = LedgerCreated | RecoveryStarted | KeyRotated | CopyFailed | CopyResumed

Event = Annotated[TransactionEvent | LedgerEvent, Field(discriminator="type")]

"""A plan: the frozen, ordered steps of a transaction, with both ends of every change already filled in.

It is stored whole in the first event of its transaction. Recovery reads it from there: it never runs planner code, so a
newer rootswap finishes what an older one began with the decisions that were taken then.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from commands.drivers.base import HealthCheck, JailSpec, PoolSpec
from commands.steps import AnyStep
from commands.steps.step import Phase, Step
from ledger.authority import Approval, Authority
from ledger.errors import LedgerNewer
from ledger.events import JsonObject
from ledger.names import ReleaseName, Target, TransactionId

Kind = Literal[
    "init",
    "mount",
    "build",
    "upgrade-template",
    "deploy",
    "upgrade",
    "rollback",
    "restore",
    "start",
    "stop",
    "destroy-release",
]


class Frozen(BaseModel):
    """A persisted value."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Deployment(Frozen):
    """A release and everything that a jail needs to run on it, so that a rollback brings the configuration back too."""

    release: ReleaseName
    jail: JailSpec
    checks: tuple[HealthCheck, ...] = ()


class JailSettled(Frozen):
    """A jail between transactions. ``history`` holds what it can be rolled back to, latest last."""

    deployment: Deployment
    history: tuple[Deployment, ...] = ()
    running: bool


class TemplateSettled(Frozen):
    """A template between transactions: its head, and the release that was taken of it."""

    head: TransactionId
    release: ReleaseName


class PoolSettled(Frozen):
    """The pool between transactions."""

    pool: PoolSpec


Settled = JailSettled | TemplateSettled | PoolSettled


class Plan(Frozen):
    """Everything that a transaction will do."""

    transaction: TransactionId
    kind: Kind
    target: Target
    before: JailSettled | TemplateSettled | PoolSettled | None
    after: JailSettled | TemplateSettled | PoolSettled | None
    steps: tuple[AnyStep, ...]
    #: Seconds from the stop of the jail after which recovery goes back rather than forward.
    budget_s: float = 900.0

    def step(self, number: int) -> Step:
        """The step of that number, counted from 1."""
        return self.steps[number - 1]

    @property
    def released(self) -> ReleaseName | None:
        """The release that is taken out of use for good; None where none is."""
        gone = (step.release for step in self.steps if step.kind in ("retire_release", "forget_release"))
        return next(gone, None)

    @property
    def switch_begins(self) -> int | None:
        """The number of the first step of the switch, or None where nothing is stopped or started."""
        return next((n for n, step in enumerate(self.steps, 1) if step.phase is Phase.SWITCH), None)


def changed_settings(plan: Plan) -> tuple[str, ...]:
    """What changes where a jail keeps its release: the keys of its configuration. Empty for every other plan."""
    before, after = plan.before, plan.after
    if not isinstance(before, JailSettled) or not isinstance(after, JailSettled):
        return ()
    old, new = before.deployment, after.deployment
    if old.release != new.release:
        return ()
    keys = (key for key in type(new.jail).model_fields if getattr(old.jail, key) != getattr(new.jail, key))
    named = tuple("environment_file" if key == "secrets" else key for key in keys)
    return named if old.checks == new.checks else (*named, "health")


class Purpose(Frozen):
    """Why a transaction is made, in the words of the one who makes it."""

    reason: str | None = None
    ticket: str | None = None
    approval: Approval | None = None
    #: Whether the policy is to be gone over, and what the gate made of it; None until it was asked.
    is_emergency: bool = False
    authority: Authority | None = None


def plan_to_json(plan: Plan) -> JsonObject:
    """The plan as it is stored."""
    stored: JsonObject = plan.model_dump(mode="json")
    return stored


def plan_from_json(stored: JsonObject) -> Plan:
    """The plan as it was stored. Raises LedgerNewer when this version cannot read it."""
    try:
        return Plan.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LedgerNewer(
            f"cannot read the plan of transaction {stored.get('transaction')}: {where}: {first['msg']}",
            remedy="run the version of rootswap that began it",
        ) from error


def jail_settled(stored: JsonObject | None) -> JailSettled | None:
    """The settled state of a jail, as the ledger keeps it."""
    return None if stored is None else JailSettled.model_validate(stored)


def template_settled(stored: JsonObject | None) -> TemplateSettled | None:
    """The settled state of a template, as the ledger keeps it."""
    return None if stored is None else TemplateSettled.model_validate(stored)

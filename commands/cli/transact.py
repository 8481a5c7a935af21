"""What every verb that changes something has in common: an engine at work, and the account of what it did.

Imported inside the verbs only: it brings the drivers and the ledger along.
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import assert_never

import typer

from commands import bootstrap
from commands.bootstrap import Session
from commands.cli import output
from commands.cli.options import read_config
from commands.cli.output import Format, show
from commands.cli.plain import wrapped
from commands.cli.progress import Progress
from commands.cli.signals import Course, watched
from commands.config import Config
from commands.errors import NotRoot
from commands.transactions.engine import Observer
from commands.transactions.interrupt import Interrupt
from commands.transactions.plan import JailSettled, Plan, Purpose, TemplateSettled, changed_settings
from commands.transactions.rehearsal import rehearse
from commands.transactions.run import Outcome
from ledger.codec import Record
from ledger.errors import LedgerLocked, RootswapError
from ledger.events import JsonObject
from ledger.lifecycle import State

CHANGES_PENDING = 10
#: What is to be said when nothing beside the ledger tells how far it went.
FORGOTTEN = (
    "what the key signed last (keys/*.signed) was not there, so an older copy of the ledger would not have been "
    "noticed; hold it against a checkpoint kept elsewhere: rootswap audit verify --since FILE"
)

Request = Callable[[Session], Plan | None]
Say = Callable[[str], None]
Opener = Callable[[Config, Interrupt, Observer, Say], AbstractContextManager[Session]]


@dataclass(frozen=True, slots=True)
class Work:
    """An engine at work: its signals are watched and its progress is shown."""

    session: Session
    interrupt: Interrupt


# --- an engine at work ------------------------------------------------------------------------------------------------


def require_root() -> None:
    """Raise NotRoot unless we are root."""
    if os.geteuid() != 0:
        raise NotRoot("cannot change this machine: not root", remedy="run it with sudo or doas")


@contextmanager
def at_work(ctx: typer.Context, opener: Opener | None = None, *, begins: bool = True) -> Iterator[Work]:
    """An engine for the configured machine. Raises NotRoot, ConfigError, LedgerLocked and the other ledger errors.

    Who ``begins`` something new is refused while a checkpoint cannot get to a sink that is required.
    """
    require_root()
    gc.enable()
    config = read_config(ctx)
    interrupt, progress, course = Interrupt(), Progress(), Course()

    def observe(plan: Plan, record: Record) -> None:
        course.observe(plan, record)
        progress.observe(plan, record)

    opened = (opener or open_or_explain)(config, interrupt, observe, progress.say)
    with progress, watched(interrupt, progress, course), opened as session:
        if session.sealed is not None and session.sealed.forgot:
            output.note(f"rootswap: warning: {FORGOTTEN}")
        if begins and session.sealed is not None:
            session.sealed.require_copies()
        yield Work(session, interrupt)


@contextmanager
def open_or_explain(config: Config, interrupt: Interrupt, observer: Observer, _say: Say) -> Iterator[Session]:
    """A session; if all that is left of the engine before us is a command of its, say that recovery ends it."""
    try:
        with bootstrap.open_session(config, interrupt=interrupt, observer=observer) as session:
            yield session
    except LedgerLocked as error:
        if error.holder_alive:
            raise
        remedy = "run `rootswap recover`, which waits for that command and then ends it"
        raise LedgerLocked(error.message, remedy=remedy, holder_alive=False, lock_path=error.lock_path) from error


def transact(ctx: typer.Context, request: Request, purpose: Purpose, format: Format, nothing: str) -> None:
    """Make one plan and carry it out, or print ``nothing`` when there is nothing to do."""
    with at_work(ctx) as work:
        plan = request(work.session)
        outcomes = [] if plan is None else [(plan, work.session.engine.execute(plan, purpose))]
    report(outcomes, format, nothing)


# --- the account ------------------------------------------------------------------------------------------------------


def report(done: Sequence[tuple[Plan, Outcome]], format: Format, nothing: str) -> None:
    """Print what was done; raises the error of the first transaction that did not commit."""
    data = accounts(done)
    for plan, outcome in done:
        try:
            outcome.raise_unless_committed()
        except RootswapError as error:
            error.details = data
            show_committed(done, format)
            raise
        if outcome.warning:
            output.note(f"rootswap: {name_of(plan)}: {outcome.warning}; `rootswap recover` tries it again")
    lines = [sentence(plan, outcome) for plan, outcome in done]
    if format is Format.TABLE:
        lines = [output.paint(line, "green", sys.stdout) for line in lines]
    show(format, data, "\n".join(lines) or nothing)


def show_committed(done: Sequence[tuple[Plan, Outcome]], format: Format) -> None:
    """Tell people what was done, beside an error that is told to machines with all of it."""
    for one in done if format is Format.TABLE else ():
        if one[1].state is State.COMMITTED:
            show(format, None, sentence(*one))


def accounts(done: Sequence[tuple[Plan, Outcome]]) -> dict[str, object]:
    """All that was done, for machines."""
    return {"changed": bool(done), "transactions": [account(plan, outcome) for plan, outcome in done]}


def account(plan: Plan, outcome: Outcome) -> JsonObject:
    """A transaction and its end, for machines."""
    return {
        "transaction": outcome.transaction,
        "kind": plan.kind,
        "target": outcome.target,
        "state": outcome.state.value,
        "cause": outcome.cause,
        "release": release_of(plan),
        "changed_settings": list(changed_settings(plan)),
        "downtime_ns": outcome.downtime_ns,
        "duration_ns": outcome.duration_ns,
        "warning": outcome.warning,
    }


def sentence(plan: Plan, outcome: Outcome) -> str:
    """A transaction that committed, in one line for people."""
    name, release = name_of(plan), release_of(plan)
    match plan.kind:
        case "init":
            told = "the pool is ready"
        case "mount":
            told = "the pool is mounted again"
        case "build" | "upgrade-template":
            told = f"{name} has the new release {release}"
        case "deploy" | "upgrade":
            told = _stays(plan, "a new configuration") or f"{name} is on {release}"
        case "rollback":
            told = _stays(plan, "its former configuration again") or f"{name} is back on {release}"
        case "restore":
            told = f"{name} is restored on {release}"
        case "start" | "stop":
            told = f"{name} {'runs' if plan.kind == 'start' else 'is stopped'}"
        case "destroy-release":
            is_new = any(step.kind == "retire_release" for step in plan.steps)
            told = f"{plan.released} {'is destroyed' if is_new else 'was gone already, and is struck off'}"
        case _:
            assert_never(plan.kind)
    down = "" if outcome.downtime_ns is None else f", down for {output.milliseconds(outcome.downtime_ns)}"
    return f"{told}{down} (transaction {outcome.transaction})"


def _stays(plan: Plan, configuration: str) -> str | None:
    """What is told of a jail that has kept its release: that it was the configuration that changed, and what of it."""
    keys = changed_settings(plan)
    return f"{name_of(plan)} stays on {release_of(plan)}, with {configuration} ({', '.join(keys)})" if keys else None


def name_of(plan: Plan) -> str:
    """What the plan changes, as people call it."""
    return plan.target.partition(":")[2]


def release_of(plan: Plan) -> str | None:
    """The release that the plan leads to."""
    match plan.after:
        case JailSettled():
            return plan.after.deployment.release
        case TemplateSettled():
            return plan.after.release
        case _:
            return None


# --- dry runs ---------------------------------------------------------------------------------------------------------


def show_plans(plans: Sequence[Plan], format: Format, nothing: str) -> None:
    """Rehearse plans in memory and print every step with its undo. Raises Refused when a rehearsal fails."""
    for plan in plans:
        rehearse(plan)
    data = {"changed": False, "plans": [plan_data(plan) for plan in plans]}
    show(format, data, "\n".join(plan_text(plan) for plan in plans) or nothing)


def plan_data(plan: Plan) -> JsonObject:
    """A plan with its steps, for machines."""
    return {
        "kind": plan.kind,
        "target": plan.target,
        "release": release_of(plan),
        "changed_settings": list(changed_settings(plan)),
        "downtime_begins": downtime_begins(plan),
        "steps": [
            {
                "step": number,
                "kind": step.kind,
                "phase": step.phase.value,
                "does": step.forward_words(),
                "undo": step.undo_words(),
            }
            for number, step in enumerate(plan.steps, 1)
        ],
    }


def plan_text(plan: Plan) -> str:
    """A plan with its steps and their undo, for people."""
    begins = downtime_begins(plan)
    lines = [f"{plan.kind} {name_of(plan)}{f' to {release}' if (release := release_of(plan)) else ''}"]
    if keys := changed_settings(plan):
        lines.append(f"  the release stays; the configuration changes: {', '.join(keys)}")
    for number, step in enumerate(plan.steps, 1):
        if number == begins:
            lines.append("      ---- the downtime begins here ----")
        lines += [f"  {number:2}  {step.forward_words()}", f"      undo: {step.undo_words()}"]
    if begins is not None:
        lines.append("      ---- the downtime ends here ----")
    return "\n".join(wrapped(line, output.line_width()) for line in lines) + "\n"


def downtime_begins(plan: Plan) -> int | None:
    """The number of the step that stops the jail, or None where nothing that serves is stopped."""
    begins = plan.switch_begins
    return begins if begins is not None and any(step.kind == "stop_jail" for step in plan.steps) else None

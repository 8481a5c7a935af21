"""Every cell of the two decisions."""

from pathlib import Path

import pytest

from commands.drivers.base import Presence
from commands.transactions.decide import Action, Circumstances, Way, choose_action, choose_way
from commands.transactions.plan import Plan
from ledger.events import StepFailed, StepStarted, StepSucceeded, UnwindStarted
from ledger.lifecycle import StepState, TransactionStatus, apply
from tests.site import Site

ABSENT, PARTIAL, PRESENT, FOREIGN = Presence.ABSENT, Presence.PARTIAL, Presence.PRESENT, Presence.FOREIGN

TABLE = {
    (StepState.STARTED, Way.FORWARD): {
        ABSENT: Action.RUN,
        PARTIAL: Action.UNDO_THEN_RUN,
        PRESENT: Action.RECORD_SUCCEEDED,
        FOREIGN: Action.STUCK,
    },
    **{
        (state, Way.BACK): {
            ABSENT: Action.RECORD_UNDONE,
            PARTIAL: Action.UNDO,
            PRESENT: Action.UNDO,
            FOREIGN: Action.STUCK,
        }
        for state in (StepState.STARTED, StepState.FAILED, StepState.SUCCEEDED, StepState.UNDO_FAILED)
    },
    **{
        (StepState.UNDO_STARTED, way): {
            ABSENT: Action.RECORD_UNDONE,
            PARTIAL: Action.UNDO,
            PRESENT: Action.UNDO,
            FOREIGN: Action.STUCK,
        }
        for way in Way
    },
}


@pytest.mark.parametrize(("state", "way"), TABLE, ids=lambda value: str(value))
@pytest.mark.parametrize("presence", Presence)
def test_every_cell_of_the_table(state: StepState, way: Way, presence: Presence) -> None:
    decision = choose_action(state, way, presence)
    assert decision.action is TABLE[state, way][presence]
    assert decision.reason


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    site = Site(tmp_path_factory.mktemp("decide") / "ledger").settle()
    with site.session() as session:
        wanted = session.requests.upgrade("web", None)
    assert wanted is not None
    return wanted


def status_at(plan: Plan, directory: Path, kind: str) -> TransactionStatus:
    """The transaction with the step of that kind in flight."""
    from commands.transactions.engine import _begun
    from commands.transactions.plan import Purpose

    status = apply(None, _begun(plan, Purpose()))
    for number, step in enumerate(plan.steps, 1):
        status = apply(status, StepStarted(step=number, kind=step.kind, attempt=1))
        if step.kind == kind:
            return status
        fact = {"fact": "jail-stopped", "jail": "web", "before": None, "after": None}
        done = {"step": number, "kind": step.kind, "attempt": 1, "fact": fact, "duration_ns": 1}
        status = apply(status, StepSucceeded.model_validate(done))
    raise AssertionError(kind)


CALM = Circumstances(rebooted=False, forward_recoveries=0, seconds_since_stop=1.0)
SWITCH = ("stop_jail", "snapshot_volumes", "remount_root", "start_jail", "check_health")


def test_before_anything_was_stopped_it_goes_back(plan: Plan, tmp_path: Path) -> None:
    course = choose_way(status_at(plan, tmp_path, "stage_root"), plan, CALM)
    assert course.way is Way.BACK
    assert "before anything was stopped" in course.reason


@pytest.mark.parametrize("kind", SWITCH)
def test_in_the_switch_it_goes_forward_once(plan: Plan, tmp_path: Path, kind: str) -> None:
    status = status_at(plan, tmp_path, kind)
    assert choose_way(status, plan, CALM).way is Way.FORWARD
    again = Circumstances(rebooted=False, forward_recoveries=1, seconds_since_stop=1.0)
    assert choose_way(status, plan, again).way is Way.BACK


@pytest.mark.parametrize("kind", SWITCH)
def test_a_reboot_or_a_spent_budget_turns_it_back(plan: Plan, tmp_path: Path, kind: str) -> None:
    status = status_at(plan, tmp_path, kind)
    rebooted = Circumstances(rebooted=True, forward_recoveries=0, seconds_since_stop=1.0)
    late = Circumstances(rebooted=False, forward_recoveries=0, seconds_since_stop=plan.budget_s + 1)
    early = Circumstances(rebooted=False, forward_recoveries=0, seconds_since_stop=-3600.0)
    assert choose_way(status, plan, rebooted).way is Way.BACK
    assert choose_way(status, plan, late).way is Way.BACK
    assert choose_way(status, plan, early).way is Way.FORWARD, "a clock set back must not turn it back"


def test_a_failed_step_turns_it_back(plan: Plan, tmp_path: Path) -> None:
    status = status_at(plan, tmp_path, "check_health")
    number = status.in_flight
    assert number is not None
    failed = apply(status, StepFailed(step=number, kind="check_health", attempt=1, error="no", duration_ns=1))
    assert choose_way(failed, plan, CALM).way is Way.BACK


def test_what_was_being_taken_back_goes_on_back(plan: Plan, tmp_path: Path) -> None:
    status = apply(status_at(plan, tmp_path, "remount_root"), UnwindStarted(cause="because"))
    course = choose_way(status, plan, CALM)
    assert course.way is Way.BACK
    assert "because" in course.reason

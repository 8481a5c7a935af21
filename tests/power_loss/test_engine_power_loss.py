"""The power fails at any moment of a transaction: nothing was done without an intent, and recovery ends it exactly."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.power_loss import programs, strace, sweep
from tests.power_loss.engines import Course
from tests.power_loss.ledgers import Fault, Verdict
from tests.power_loss.sweep import Report, Tally
from tests.power_loss.trace import Op
from tests.recovery.test_crash_points import SCENARIOS

pytestmark = pytest.mark.sweep

PROGRAM = "tests.power_loss.engine_programs"


@pytest.fixture(autouse=True)
def _needs_strace() -> None:
    if not strace.available():
        pytest.skip("needs strace, and the right to trace")


def prepared(directory: Path, name: str) -> strace.Recorder:
    directory.mkdir()
    recorder = strace.Recorder(directory)
    recorder.run(PROGRAM, "prepare", name)
    return recorder


def judge_all(name: str, ops: Sequence[Op], course: Course, *, first: int = 0) -> Report:
    def key(point: int) -> str:
        return course.moments[point].key

    def judge(point: int, directory: Path, number: int) -> Verdict | None:
        return course.judge(point, directory / programs.LEDGER, number)

    return sweep.sweep(name, ops, key, judge, rounds=0, first=first)


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_power_cut_finds_an_effect_without_intent_or_a_host_between_two_states(
    name: str, fast_directory: Path, tally: Tally
) -> None:
    recorder = prepared(fast_directory / "root", name)
    recorder.run(PROGRAM, "execute")
    course = Course.of(recorder.ops)
    assert course.effects > 0
    assert (course.before == course.after) == (name == "upgrade to a broken release")
    report = judge_all(name, recorder.ops, course)
    tally("the whole engine", name, report)
    report.require_sound()


#: Those that destroy something once they have committed: the most that a lost commit could do.
@pytest.mark.parametrize("name", ["destroy-release", "upgrade-template"])
def test_an_engine_that_was_killed_and_recovered_keeps_its_word_when_the_power_fails(
    name: str, fast_directory: Path, tally: Tally
) -> None:
    beginning = prepared(fast_directory / "beginning", name)
    whole = beginning.fork(fast_directory / "whole")
    whole.run(PROGRAM, "execute")
    after = Course.of(whole.ops).after
    total = Report()
    for number in range(1, 40):
        recorder = beginning.fork(fast_directory / f"killed-{number}")
        if recorder.run(PROGRAM, "execute", kill_at=("fdatasync", number)):
            break
        killed = len(recorder.ops)
        recorder.run(PROGRAM, "recover")
        course = Course.of(recorder.ops, after)
        report = judge_all(f"{name}, killed at sync {number}", recorder.ops, course, first=killed)
        total.add(report)
        total.seconds += report.seconds
        report.require_sound()
    assert number > 3
    tally("the whole engine, killed and recovered before the power fails", name, total)


def test_the_rig_finds_effects_without_intent_where_less_is_synced(fast_directory: Path, tally: Tally) -> None:
    recorder = prepared(fast_directory / "root", "upgrade")
    recorder.run(PROGRAM, "execute", "normal")
    report = judge_all("normal", recorder.ops, Course.of(recorder.ops))
    tally("the whole engine with less synced, where faults have to be found", "normal", report)
    assert report.faults[Fault.UNINTENDED] > 0

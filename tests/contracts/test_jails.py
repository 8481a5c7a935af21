"""The contract of every jail runtime."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.drivers.base import JailState
from commands.errors import DriverError
from tests.contracts.jail_fixtures import RUNTIMES, JailBench, freebsd_bench, memory_bench, real_bench

REAL = [pytest.param(driver, marks=pytest.mark.real) for driver in RUNTIMES]


@pytest.fixture(params=["memory", "freebsd", *REAL])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JailBench]:
    """Each runtime in turn."""
    driver: str = request.param
    unreal = {"memory": memory_bench, "freebsd": freebsd_bench}
    with unreal[driver](tmp_path) if driver in unreal else real_bench(tmp_path, driver) as made:
        yield made


def test_a_jail_that_never_ran_is_stopped(bench: JailBench) -> None:
    assert bench.jails.state(bench.spec) is JailState.STOPPED
    assert not bench.jails.runs_on(bench.spec, bench.source)


def test_preflight_finds_nothing_wrong_with_a_good_jail_and_changes_nothing(bench: JailBench) -> None:
    bench.jails.preflight(bench.spec)
    assert bench.jails.state(bench.spec) is JailState.STOPPED


def test_a_started_jail_runs_on_the_source_of_its_root_and_on_no_other(bench: JailBench) -> None:
    bench.jails.start(bench.spec)
    assert bench.jails.state(bench.spec) is JailState.RUNNING
    assert bench.jails.runs_on(bench.spec, bench.source)
    assert not bench.jails.runs_on(bench.spec, bench.other)


def test_starting_a_running_jail_is_success(bench: JailBench) -> None:
    bench.jails.start(bench.spec)
    bench.jails.start(bench.spec)
    assert bench.jails.state(bench.spec) is JailState.RUNNING


def test_a_stopped_jail_is_stopped_and_runs_on_nothing(bench: JailBench) -> None:
    bench.jails.start(bench.spec)
    bench.jails.stop(bench.spec)
    assert bench.jails.state(bench.spec) is JailState.STOPPED
    assert not bench.jails.runs_on(bench.spec, bench.source)


def test_stopping_a_stopped_jail_is_success(bench: JailBench) -> None:
    bench.jails.stop(bench.spec)
    bench.jails.start(bench.spec)
    bench.jails.stop(bench.spec)
    bench.jails.stop(bench.spec)
    assert bench.jails.state(bench.spec) is JailState.STOPPED


def test_a_jail_can_be_started_the_moment_it_was_stopped(bench: JailBench) -> None:
    for _ in range(10):
        bench.jails.start(bench.spec)
        assert bench.jails.runs_on(bench.spec, bench.source)
        bench.jails.stop(bench.spec)


def test_a_command_runs_in_a_running_jail_only(bench: JailBench) -> None:
    with pytest.raises(DriverError, match="does not run"):
        bench.jails.execute(bench.spec, ["/bin/sh", "-c", "exit 0"], 5.0)
    bench.jails.start(bench.spec)
    assert bench.jails.execute(bench.spec, ["/bin/sh", "-c", "exit 0"], 5.0).status == 0


def test_a_jail_without_a_root_does_not_start_and_stays_stopped(bench: JailBench) -> None:
    bench.lose_root()
    with pytest.raises(DriverError, match="cannot start jail"):
        bench.jails.start(bench.spec)
    assert bench.jails.state(bench.spec) is JailState.STOPPED

"""What every test may use, and the two summaries at the end of a run.

A test may run in a worker process of its own, so what a summary is made of travels with the report of the test.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.power_loss.ledgers import Fault
from tests.power_loss.sweep import Report

# A machine that has other work to do is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

POINTS, CUTS = "crash points", "power loss"

#: Crash points by name; power cuts by what was tried, and by the trace.
_POINTS: dict[str, int] = {}
_REPORTS: dict[str, dict[str, Report]] = {}


@pytest.fixture
def fast_directory() -> Iterator[Path]:
    """A directory in memory where there is one: thousands of ledgers are made and thrown away in it."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture
def record_points(request: pytest.FixtureRequest) -> Callable[[str, int], None]:
    """Remember how many crash points a test has gone through, for the summary."""

    def record(name: str, count: int) -> None:
        request.node.user_properties.append((POINTS, [name, count]))

    return record


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[[str, str, Report], None]:
    """Remember a report of power cuts for the summary: under what heading, and of which trace."""

    def add(heading: str, name: str, report: Report) -> None:
        faults = {fault.value: count for fault, count in report.faults.items()}
        request.node.user_properties.append((CUTS, [heading, name, report.images, report.seconds, faults]))

    return add


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take what a test has remembered from its report."""
    if report.when != "call":
        return
    remembered: list[tuple[str, Any]] = list(report.user_properties)
    for key, value in remembered:
        if key == POINTS:
            name, count = value
            _POINTS[name] = count
        elif key == CUTS:
            heading, name, images, seconds, faults = value
            counted = Counter({Fault(fault): count for fault, count in faults.items()})
            _REPORTS.setdefault(heading, {})[name] = Report(images=images, seconds=seconds, faults=counted)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was cut and crashed: a number that drops without a reason is a defect of the tests."""
    if _REPORTS:
        terminalreporter.section(CUTS)
    for heading, reports in sorted(_REPORTS.items()):
        total = Report()
        terminalreporter.write_line(f"{heading}:")
        for name, report in sorted(reports.items()):
            terminalreporter.write_line(f"  {in_words(report)}  {name}")
            total.add(report)
            total.seconds += report.seconds
        speed = total.images / max(total.seconds, 1e-9)
        terminalreporter.write_line(f"  {in_words(total)}  in all, {speed:.0f} a second")
    if _POINTS:
        terminalreporter.section(POINTS)
        for name, count in sorted(_POINTS.items()):
            terminalreporter.write_line(f"{count:6d}  {name}")
        terminalreporter.write_line(f"{sum(_POINTS.values()):6d}  in all")


def in_words(report: Report) -> str:
    """One line for people."""
    faults = ", ".join(f"{count} × {fault.value}" for fault, count in sorted(report.faults.items()))
    return f"{report.images:6d} images, {faults or 'none lost, none broken, none unreadable'}"

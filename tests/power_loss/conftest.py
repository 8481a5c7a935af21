"""What the power cuts have come to, for the summary."""

from collections.abc import Callable

import pytest

from tests.power_loss.sweep import Report

Tally = Callable[[str, str, Report], None]

#: By what was tried, and by the trace.
_REPORTS: dict[str, dict[str, Report]] = {}


@pytest.fixture
def tally() -> Tally:
    """Remember a report for the summary: under what heading, and of which trace."""

    def add(heading: str, name: str, report: Report) -> None:
        _REPORTS.setdefault(heading, {})[name] = report

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many images were judged, and what was found: nothing, but where we have asked for it."""
    if not _REPORTS:
        return
    terminalreporter.section("power loss")
    for heading, reports in _REPORTS.items():
        total = Report()
        terminalreporter.write_line(f"{heading}:")
        for name, report in reports.items():
            terminalreporter.write_line(f"  {in_words(report)}  {name}")
            total.add(report)
            total.seconds += report.seconds
        terminalreporter.write_line(
            f"  {in_words(total)}  in all, {total.images / max(total.seconds, 1e-9):.0f} a second"
        )


def in_words(report: Report) -> str:
    """One line for people."""
    faults = ", ".join(f"{count} × {fault.value}" for fault, count in sorted(report.faults.items()))
    return f"{report.images:6d} images, {faults or 'none lost, none broken, none unreadable'}"

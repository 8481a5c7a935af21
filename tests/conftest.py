"""What every test may use."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_POINTS: dict[str, int] = {}


@pytest.fixture
def fast_directory() -> Iterator[Path]:
    """A directory in memory where there is one: thousands of ledgers are made and thrown away in it."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture
def record_points() -> Callable[[str, int], None]:
    """Remember how many crash points a test has gone through, for the summary."""

    def record(name: str, count: int) -> None:
        _POINTS[name] = count

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the crash points: a number that drops without a reason is a defect of the tests."""
    if _POINTS:
        terminalreporter.section("crash points")
        for name, count in sorted(_POINTS.items()):
            terminalreporter.write_line(f"{count:6d}  {name}")
        terminalreporter.write_line(f"{sum(_POINTS.values()):6d}  in all")

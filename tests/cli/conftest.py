"""The bench for every test of the command line."""

from pathlib import Path

import pytest

from tests.cli.bench import Bench, make_bench


@pytest.fixture
def bench(fast_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The command line on a host in memory."""
    return make_bench(fast_directory, capsys, monkeypatch)

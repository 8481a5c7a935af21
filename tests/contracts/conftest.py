"""The backends that the contract suites run against."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.real import RealPool, real_pool


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[RealPool]:
    """A fresh Btrfs pool on an image of its own."""
    with real_pool(tmp_path) as pool:
        yield pool

"""The backends that the contract suites run against."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.real import RealPool, real_pool
from tests.fakes.lvm_pool import FakePool, make_pool


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[RealPool]:
    """A fresh Btrfs pool on an image of its own."""
    with real_pool(tmp_path) as pool:
        yield pool


@pytest.fixture(params=["ext4", "xfs"])
def thin(request: pytest.FixtureRequest, tmp_path: Path) -> FakePool:
    """A fresh pool on a fake LVM, for each file system."""
    pool = make_pool(tmp_path, request.param)
    pool.storage.create_pool(pool.spec)
    return pool

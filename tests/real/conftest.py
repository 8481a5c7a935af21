"""What the tests on the real host share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.jail_fixtures import RUNTIMES
from tests.real.site import BUSYBOX, RealSite


@pytest.fixture(scope="module", params=RUNTIMES)
def site(request: pytest.FixtureRequest) -> Iterator[RealSite]:
    """The jails ``web`` and ``mail`` on the first of two releases, under each runtime in turn."""
    _, program = RUNTIMES[request.param]
    if os.geteuid() != 0 or not all(map(shutil.which, (program, "mkfs.btrfs", BUSYBOX))):
        pytest.skip(f"needs root, {program}, Btrfs and a static busybox")
    site = RealSite(Path(tempfile.mkdtemp(prefix="rootswap-real-", dir="/var/tmp")), ("web", "mail"), request.param)
    try:
        site.settle()
        yield site
    finally:
        site.close()

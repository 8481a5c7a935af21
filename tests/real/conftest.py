"""What the tests on the real host share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.site import BUSYBOX, RealSite


@pytest.fixture(scope="module")
def site() -> Iterator[RealSite]:
    """The jails ``web`` and ``mail`` on the first of two releases."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("lxc-start", "mkfs.btrfs", BUSYBOX))):
        pytest.skip("needs root, LXC, Btrfs and a static busybox")
    site = RealSite(Path(tempfile.mkdtemp(prefix="rootswap-real-", dir="/var/tmp")), ("web", "mail"))
    try:
        site.settle()
        yield site
    finally:
        site.close()

"""A host whose mounts are shared, as systemd makes them: there the kernel refuses to move a mount."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.site import BUSYBOX

pytestmark = pytest.mark.real


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for the site, which is gone at the end."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("lxc-start", "mkfs.btrfs", BUSYBOX))):
        pytest.skip("needs root, LXC, Btrfs and a static busybox")
    with tempfile.TemporaryDirectory(prefix="rootswap-shared-", dir="/var/tmp") as made:
        yield Path(made)


def test_killed_around_every_mount_of_an_upgrade_a_shared_host_is_left_with_no_stray_mount(
    place: Path, record_points: Callable[[str, int], None]
) -> None:
    story = subprocess.run(
        ["unshare", "--mount", "--propagation", "shared", sys.executable, "-m", "tests.real.shared_host", str(place)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert story.returncode == 0, story.stderr
    points = json.loads(story.stdout)
    assert any("mount -o bind -- " in point and point.startswith("after ") for point in points), "no mount was moved"
    record_points("SIGKILL around the mounts of a real upgrade on a shared host", len(points))

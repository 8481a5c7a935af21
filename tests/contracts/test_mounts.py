"""The contract of Mounts, for every mounts driver; then what only a Linux host has."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.drivers.base import Mounts, Source
from commands.drivers.host import LocalHost
from commands.drivers.memory import MemoryWorld
from commands.drivers.mounts import LinuxMounts, parse_mounts, topmost
from commands.errors import DriverError, Foreign
from tests.contracts.real import require_root, sh, unmount_all


@dataclass
class Backend:
    """A mount table, two sources, a place for mounts, and something foreign to mount."""

    mounts: Mounts
    one: Source
    two: Source
    home: str
    plant: Callable[[str], None]


def _memory() -> Iterator[Backend]:
    world = MemoryWorld(state={"release:one": "root", "release:two": "root"})
    one, two = Source("memory", "one"), Source("memory", "two")
    yield Backend(
        world.drivers().mounts, one, two, "/jails", lambda path: world.state.__setitem__(f"mount:{path}", "foreign")
    )


def _linux(directory: Path) -> Iterator[Backend]:
    require_root()
    for name in ("one", "two"):
        (directory / name).mkdir()
        (directory / name / "which").write_text(name)

    def plant(path: str) -> None:
        os.makedirs(path, exist_ok=True)
        sh("mount", "-t", "tmpfs", "foreign", path)

    one, two = (Source("bind", str(directory / name)) for name in ("one", "two"))
    try:
        yield Backend(LinuxMounts(LocalHost()), one, two, str(directory / "jails"), plant)
    finally:
        unmount_all(directory)


@pytest.fixture(params=["memory", pytest.param("linux", marks=pytest.mark.real)])
def on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    yield from _memory() if request.param == "memory" else _linux(tmp_path)


def test_a_source_is_mounted_once_and_again_without_a_second_layer(on: Backend) -> None:
    path = f"{on.home}/web/root"
    assert on.mounts.layers(path) == 0
    assert not on.mounts.holds(path, on.one)
    for _ in range(2):
        on.mounts.mount(on.one, path)
        assert on.mounts.layers(path) == 1
        assert on.mounts.holds(path, on.one)
        assert not on.mounts.holds(path, on.two)


def test_a_mount_is_unmounted_once_and_again(on: Backend) -> None:
    path = f"{on.home}/web/root"
    on.mounts.mount(on.one, path)
    for _ in range(2):
        on.mounts.unmount(path)
        assert on.mounts.layers(path) == 0


def test_a_mount_is_moved_and_leaves_its_old_place_free(on: Backend) -> None:
    old, new = f"{on.home}/web/next", f"{on.home}/web/root"
    on.mounts.mount(on.one, old)
    on.mounts.move(old, new)
    assert on.mounts.layers(old) == 0
    assert on.mounts.layers(new) == 1
    assert on.mounts.holds(new, on.one)


def test_two_places_hold_what_was_mounted_there_each(on: Backend) -> None:
    on.mounts.mount(on.one, f"{on.home}/one")
    on.mounts.mount(on.two, f"{on.home}/two")
    on.mounts.unmount(f"{on.home}/one")
    assert on.mounts.holds(f"{on.home}/two", on.two)


def test_nothing_is_mounted_over_what_is_not_ours(on: Backend) -> None:
    path = f"{on.home}/web/root"
    on.plant(path)
    with pytest.raises(Foreign):
        on.mounts.mount(on.one, path)
    assert on.mounts.layers(path) == 1
    assert not on.mounts.holds(path, on.one)


def test_nothing_is_moved_onto_another_mount(on: Backend) -> None:
    old, new = f"{on.home}/web/next", f"{on.home}/web/root"
    on.mounts.mount(on.one, old)
    on.plant(new)
    with pytest.raises(DriverError):
        on.mounts.move(old, new)
    assert on.mounts.holds(old, on.one)
    assert not on.mounts.holds(new, on.one)


def test_a_mount_that_is_not_there_is_not_moved(on: Backend) -> None:
    with pytest.raises(DriverError):
        on.mounts.move(f"{on.home}/web/next", f"{on.home}/web/root")


# --- Linux ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def linux(tmp_path: Path) -> Iterator[Backend]:
    yield from _linux(tmp_path)


@pytest.mark.real
def test_what_is_mounted_can_be_read_and_not_written(linux: Backend) -> None:
    path = f"{linux.home}/web root"  # a blank is written as an escape in the kernel's table
    linux.mounts.mount(linux.one, path)
    assert linux.mounts.layers(path) == 1
    assert Path(path, "which").read_text() == "one"
    with pytest.raises(OSError, match="Read-only"):
        Path(path, "which").write_text("x")
    Path(linux.one.what, "which").write_text("the source itself is as writable as before")


@pytest.mark.real
def test_a_mount_that_was_left_writable_is_made_read_only(linux: Backend) -> None:
    path = f"{linux.home}/root"
    os.makedirs(path)
    sh("mount", "--bind", linux.one.what, path)
    linux.mounts.mount(linux.one, path)
    assert linux.mounts.layers(path) == 1
    with pytest.raises(OSError, match="Read-only"):
        Path(path, "which").write_text("x")


@pytest.mark.real
def test_a_mount_in_use_is_told_and_stays(linux: Backend) -> None:
    path = f"{linux.home}/root"
    linux.mounts.mount(linux.one, path)
    with open(f"{path}/which"), pytest.raises(DriverError, match=r"cannot run umount: .*busy"):
        linux.mounts.unmount(path)
    assert linux.mounts.holds(path, linux.one)
    linux.mounts.unmount(path)


@pytest.mark.real
def test_nothing_is_mounted_through_a_symlink(linux: Backend, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink("elsewhere", tmp_path / "link")
    with pytest.raises(DriverError, match="link is a symbolic link"):
        linux.mounts.mount(linux.one, str(tmp_path / "link/root"))
    assert linux.mounts.layers(str(tmp_path / "elsewhere/root")) == 0


@pytest.mark.real
def test_the_topmost_of_stacked_mounts_is_what_counts(linux: Backend) -> None:
    path = f"{linux.home}/root"
    linux.mounts.mount(linux.one, path)
    sh("mount", "--bind", linux.two.what, path)
    assert linux.mounts.layers(path) == 2
    assert linux.mounts.holds(path, linux.two)
    assert not linux.mounts.holds(path, linux.one)
    linux.mounts.unmount(path)
    assert linux.mounts.holds(path, linux.one)


@pytest.mark.real
def test_a_source_that_is_not_there_is_told(linux: Backend) -> None:
    with pytest.raises(DriverError, match="cannot run mount: "):
        linux.mounts.mount(Source("bind", "/nonexistent"), f"{linux.home}/root")
    assert linux.mounts.layers(f"{linux.home}/root") == 0


@pytest.mark.real
def test_a_move_that_was_interrupted_between_its_two_halves_is_finished(linux: Backend) -> None:
    old, new = f"{linux.home}/next", f"{linux.home}/root"
    linux.mounts.mount(linux.one, old)
    linux.mounts.mount(linux.one, new)
    linux.mounts.move(old, new)
    assert (linux.mounts.layers(old), linux.mounts.layers(new)) == (0, 1)
    linux.mounts.move(old, new)
    assert linux.mounts.holds(new, linux.one)


SHARED = """
import sys
from commands.drivers.base import Source
from commands.drivers.host import LocalHost
from commands.drivers.mounts import LinuxMounts
one, old, new = sys.argv[1:]
host = LocalHost()
mounts = LinuxMounts(host)
mounts.mount(Source("bind", one), old)
assert host.run(["mount", "--move", old, new], check=False).status != 0, "the kernel moves it: nothing is tested here"
mounts.move(old, new)
assert mounts.layers(old) == 0 and mounts.layers(new) == 1 and mounts.holds(new, Source("bind", one))
try:
    host.write(f"{new}/which", b"x")
except Exception as error:
    print(error)
"""


@pytest.mark.real
def test_a_mount_is_moved_where_systemd_has_made_everything_shared(linux: Backend) -> None:
    old, new = f"{linux.home}/next", f"{linux.home}/root"
    os.makedirs(new)
    moved = subprocess.run(
        ["unshare", "--mount", "--propagation", "shared", sys.executable, "-c", SHARED, linux.one.what, old, new],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert moved.returncode == 0, moved.stderr
    assert "the file system is read-only" in moved.stdout


TABLE = """\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw
60 22 0:43 / /var/tmp/a\\040b rw,noatime - btrfs /dev/loop1 rw,subvol=/
61 60 0:44 /r\\134x /var/tmp/a\\040b ro,noatime shared:23 master:2 - btrfs /dev/loop\\0401 rw
70 22 0:45 / /plain rw - tmpfs none rw
"""


def test_the_kernels_table_is_read_with_its_escapes_and_optional_fields() -> None:
    table = parse_mounts(TABLE)
    top = topmost(table, "/var/tmp/a b")
    assert top is not None
    assert (top.id, top.parent, top.device, top.root) == (61, 60, "0:44", "/r\\x")
    assert (top.read_only, top.shared, top.kind, top.source) == (True, True, "btrfs", "/dev/loop 1")
    assert [mount.shared for mount in table] == [True, False, True, False]
    assert topmost(table, "/var/tmp") is None


def test_the_topmost_mount_is_known_by_its_parents_not_by_the_order_of_the_table() -> None:
    backwards = parse_mounts("\n".join(reversed(TABLE.splitlines())))
    top = topmost(backwards, "/var/tmp/a b")
    assert top is not None
    assert top.id == 61

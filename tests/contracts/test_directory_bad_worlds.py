"""The directory driver in bad worlds: full disks, symlinks, foreign directories, file systems that keep too little."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.drivers.base import Presence
from commands.errors import DriverError, Foreign
from tests.contracts.real import DirectoryPool, directory_pool, sh, unmount_all

pytestmark = pytest.mark.real

HEAD, TX = "aaaaaaaa", "cccccccc"
RELEASE = f"debian@{TX}"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[DirectoryPool]:
    """A pool on the file system of the temporary directory."""
    with directory_pool(tmp_path) as pool:
        yield pool


# --- file systems -----------------------------------------------------------------------------------------------------


def test_what_a_file_system_cannot_keep_is_an_error_and_not_lost_without_a_word(pool: DirectoryPool) -> None:
    """A ramfs keeps no extended attributes."""
    pool.storage.begin_template("debian", HEAD, None)
    head = Path(pool.storage.template_path("debian", HEAD))
    (head / "ping").write_text("x")
    os.setxattr(head / "ping", "user.colour", b"red")
    pool.storage.finish_template("debian", HEAD)
    releases = Path(pool.spec.path) / "rootswap/releases"
    sh("mount", "-t", "ramfs", "ramfs", str(releases))
    with pytest.raises(DriverError, match=r"cannot run cp: .*(not supported|Permission denied)"):
        pool.storage.take_release(RELEASE, HEAD)
    assert pool.storage.release_presence(RELEASE) is Presence.PARTIAL
    pool.storage.destroy_release(RELEASE)
    assert pool.storage.release_presence(RELEASE) is Presence.ABSENT


def test_a_disk_that_is_full_in_the_middle_of_a_copy_is_told_and_the_rest_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(tmp_path / "small"))
    with directory_pool(tmp_path / "small") as pool:
        try:
            pool.furnish()
            data = Path(pool.storage.volume_path("web", "log")) / "data"
            data.write_bytes(os.urandom(14 << 20))
            with pytest.raises(DriverError, match="No space left"):
                pool.storage.snapshot_volumes("web", ["log"], TX)
            assert pool.storage.snapshot_presence("web", ["log"], TX) is Presence.PARTIAL
            assert pool.storage.space().data_free_bytes < 2 << 20
            pool.storage.set_snapshot_aside("web", ["log"], TX)
            assert pool.storage.snapshots("web") == ()
            assert pool.storage.space().data_free_bytes > 8 << 20
            assert data.stat().st_size == 14 << 20
        finally:
            unmount_all(tmp_path)


# --- what is in the way -----------------------------------------------------------------------------------------------


def test_a_place_that_a_symlink_leads_to_is_foreign(pool: DirectoryPool) -> None:
    root = pool.furnish()
    elsewhere = pool.directory / "elsewhere"
    place = root.parent
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    assert pool.storage.release_presence(RELEASE) is Presence.FOREIGN
    jail = Path(pool.spec.path) / "rootswap/volumes/web"
    jail.rename(pool.directory / "volumes")
    jail.symlink_to(pool.directory / "volumes")
    assert pool.storage.volume_presence("web", "log") is Presence.FOREIGN
    for act in (
        lambda: pool.storage.destroy_release(RELEASE),
        lambda: pool.storage.destroy_volume("web", "log"),
        lambda: pool.storage.take_release(RELEASE, HEAD),
    ):
        with pytest.raises(Foreign):
            act()
    assert (elsewhere / "root/etc/motd").exists()
    assert (pool.directory / "volumes/log/root").is_dir()


@pytest.mark.parametrize("what", ["symlink", "file", "directory that is not ours"])
def test_a_pool_is_not_made_where_something_else_is(tmp_path: Path, what: str) -> None:
    pool = DirectoryPool(tmp_path)
    path = Path(pool.spec.path)
    match what:
        case "symlink":
            (tmp_path / "elsewhere").mkdir()
            path.symlink_to(tmp_path / "elsewhere")
        case "file":
            path.write_text("precious")
        case _:
            (path / "rootswap").mkdir(parents=True)
            (path / "rootswap/precious").touch()
    assert pool.storage.pool_presence(pool.spec) is Presence.FOREIGN
    for act in (pool.storage.create_pool, pool.storage.destroy_pool):
        with pytest.raises(Foreign):
            act(pool.spec)
    assert what != "symlink" or os.listdir(tmp_path / "elsewhere") == []
    assert what != "directory that is not ours" or os.listdir(path / "rootswap") == ["precious"]


def test_a_pool_whose_disk_is_not_mounted_is_told_and_not_begun_anew(pool: DirectoryPool) -> None:
    pool.furnish()
    path = Path(pool.spec.path)
    path.rename(pool.directory / "unmounted")
    path.mkdir()
    assert pool.storage.pool_mounted(pool.spec) is Presence.ABSENT
    with pytest.raises(DriverError, match="it is not there"):
        pool.storage.mount_pool(pool.spec)
    for ask in (pool.storage.releases, pool.storage.space, lambda: pool.storage.volume_presence("web", "log")):
        with pytest.raises(DriverError, match="not mounted or not ours"):
            ask()
    assert os.listdir(path) == []


def test_the_pool_is_open_to_root_alone(pool: DirectoryPool) -> None:
    pool.furnish()
    shut = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", f"{pool.spec.path}/rootswap"],
        check=False,
        capture_output=True,
    )
    assert shut.returncode != 0

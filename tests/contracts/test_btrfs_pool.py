"""The pool of the Btrfs driver, on an image and on a given mount."""

import os
import subprocess
from pathlib import Path

import pytest

from commands.drivers.base import PoolSpec, Presence, Volume
from commands.drivers.btrfs import BtrfsStorage
from commands.drivers.btrfs_pool import parse_usage
from commands.drivers.host import LocalHost
from commands.errors import DriverError, Foreign
from tests.contracts.real import RealPool, real_pool, sh

HEAD, NEXT, TX, TRASH = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"
RELEASE = f"debian@{TX}"

real = pytest.mark.real


# --- the pool ---------------------------------------------------------------------------------------------------------


@real
def test_nothing_is_asked_of_a_pool_that_is_not_mounted(pool: RealPool) -> None:
    pool.build("debian", HEAD)
    pool.storage.unmount_pool(pool.spec)
    assert pool.storage.pool_presence(pool.spec) is Presence.PARTIAL
    for ask in (
        pool.storage.templates,
        pool.storage.space,
        lambda: pool.storage.release_presence(RELEASE),
        lambda: pool.storage.begin_template("debian", NEXT, None),
        lambda: pool.storage.snapshot_volumes("web", ["log"], TX),
    ):
        with pytest.raises(DriverError, match="not mounted"):
            ask()
    assert os.listdir(pool.spec.path) == []


@real
def test_an_unmounted_pool_that_holds_something_is_not_removed(pool: RealPool) -> None:
    pool.build("debian", HEAD)
    pool.storage.unmount_pool(pool.spec)
    with pytest.raises(DriverError, match="holds templates/debian"):
        pool.storage.destroy_pool(pool.spec)
    pool.storage.mount_pool(pool.spec)
    assert pool.storage.template_presence("debian", HEAD) is Presence.PRESENT


@real
def test_a_pool_is_created_again_after_a_reboot_without_losing_anything(pool: RealPool) -> None:
    pool.build("debian", HEAD)
    pool.storage.unmount_pool(pool.spec)
    pool.storage.create_pool(pool.spec)
    assert pool.storage.template_presence("debian", HEAD) is Presence.PRESENT


@real
def test_a_mark_that_has_outlived_its_image_does_not_keep_a_pool_from_being_created(pool: RealPool) -> None:
    pool.storage.unmount_pool(pool.spec)
    os.unlink(str(pool.spec.image))
    assert pool.storage.pool_presence(pool.spec) is Presence.PARTIAL
    pool.storage.create_pool(pool.spec)
    assert pool.storage.pool_presence(pool.spec) is Presence.PRESENT
    assert pool.storage.templates() == ()


@real
def test_an_image_never_gets_a_second_loop_device(pool: RealPool) -> None:
    elsewhere = pool.directory / "elsewhere"
    elsewhere.mkdir()
    for _ in range(2):
        pool.storage.mount_pool(pool.spec)
    sh("mount", "--bind", pool.spec.path, str(elsewhere))
    pool.storage.unmount_pool(pool.spec)
    pool.storage.mount_pool(pool.spec)
    assert len(pool.loops()) == 1


@real
def test_the_pool_is_open_to_root_alone_and_the_image_too(pool: RealPool) -> None:
    assert os.stat(f"{pool.spec.path}/rootswap").st_mode & 0o7777 == 0o700
    assert os.stat(str(pool.spec.image)).st_mode & 0o7777 == 0o600


@real
def test_someone_who_may_not_enter_the_pool_reaches_a_volume_where_it_is_mounted(pool: RealPool) -> None:
    pool.build("debian", HEAD)
    pool.release(RELEASE, HEAD)
    pool.storage.create_volume("web", Volume(name="log", path="/var/log/app"), RELEASE)
    there = pool.directory / "there"
    there.mkdir()
    sh("mount", "--bind", pool.storage.volume_path("web", "log"), str(there))
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    directory = os.open(there, os.O_PATH)  # the test's own directory is closed to nobody
    through = [*as_nobody, "cat", f"/proc/self/fd/{directory}/log"]
    indirect = subprocess.run(through, check=False, capture_output=True, pass_fds=[directory])
    os.close(directory)
    direct = subprocess.run(
        [*as_nobody, "ls", pool.storage.volume_path("web", "log")], check=False, capture_output=True
    )
    assert indirect.stdout == f"var/log/app/log of {HEAD}\n".encode()
    assert direct.returncode != 0


@real
@pytest.mark.parametrize("what", ["file", "empty file", "directory", "symlink"])
def test_something_foreign_in_place_of_the_image_is_not_touched(tmp_path: Path, what: str) -> None:
    with real_pool(tmp_path, create=False) as pool:
        image = Path(str(pool.spec.image))
        other = tmp_path / "other"
        other.write_text("precious")
        match what:
            case "file":
                image.write_text("precious")
            case "empty file":
                image.touch()
            case "directory":
                image.mkdir()
            case _:
                image.symlink_to(other)
        before = os.lstat(image)
        assert pool.storage.pool_presence(pool.spec) is Presence.FOREIGN
        for act in (pool.storage.create_pool, pool.storage.destroy_pool, pool.storage.mount_pool):
            with pytest.raises(Foreign):
                act(pool.spec)
        assert os.lstat(image)[:9] == before[:9]
        assert other.read_text() == "precious"


@real
def test_something_foreign_mounted_in_place_of_the_pool_is_not_touched(tmp_path: Path) -> None:
    with real_pool(tmp_path, create=False) as pool:
        os.mkdir(pool.spec.path)
        sh("mount", "-t", "tmpfs", "tmpfs", pool.spec.path)
        assert pool.storage.pool_mounted(pool.spec) is Presence.FOREIGN
        assert pool.storage.pool_presence(pool.spec) is Presence.FOREIGN
        for act in (pool.storage.create_pool, pool.storage.unmount_pool, pool.storage.destroy_pool):
            with pytest.raises(Foreign):
                act(pool.spec)
        assert os.path.ismount(pool.spec.path)
        assert not os.path.exists(str(pool.spec.image))


@real
def test_a_pool_on_a_given_btrfs_keeps_to_its_directory(pool: RealPool) -> None:
    given = PoolSpec(driver="btrfs", path=str(pool.directory / "given"))
    storage = BtrfsStorage(LocalHost(), given)
    with pytest.raises(DriverError, match="no Btrfs is mounted"):
        storage.create_pool(given)
    assert storage.pool_presence(given) is Presence.ABSENT
    sh("btrfs", "subvolume", "create", f"{pool.spec.path}/data")
    os.mkdir(given.path)
    sh("mount", "--bind", f"{pool.spec.path}/data", given.path)
    Path(given.path, "theirs").write_text("x")
    storage.create_pool(given)
    assert storage.pool_presence(given) is Presence.PRESENT
    storage.begin_template("debian", HEAD, None)
    root = storage.template_path("debian", HEAD)
    sh("btrfs", "subvolume", "create", f"{root}/nested")
    storage.finish_template("debian", HEAD)
    storage.destroy_template("debian", HEAD)
    storage.unmount_pool(given)
    storage.destroy_pool(given)
    assert os.listdir(given.path) == ["theirs"]
    Path(given.path, "rootswap").mkdir()
    Path(given.path, "rootswap/file").write_text("theirs")
    assert storage.pool_presence(given) is Presence.FOREIGN


@real
@pytest.mark.parametrize("size_bytes", [None, 0, 1 << 20])
def test_a_pool_that_has_no_size_is_refused_before_anything_is_made(tmp_path: Path, size_bytes: int | None) -> None:
    with real_pool(tmp_path, create=False) as pool:
        spec = pool.spec.model_copy(update={"size_bytes": size_bytes})
        with pytest.raises(DriverError, match="cannot create pool image"):
            pool.storage.create_pool(spec)
        assert pool.storage.pool_presence(spec) is Presence.ABSENT
        assert os.listdir(tmp_path) == []


@real
def test_a_pool_is_refused_where_the_disk_is_all_but_full(tmp_path: Path) -> None:
    with real_pool(tmp_path / "small", create=False) as pool:
        pool.directory.mkdir()
        sh("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(pool.directory))
        try:
            with pytest.raises(DriverError, match="64 MiB are free where it is to be, 1024 are needed"):
                pool.storage.create_pool(pool.spec)
            assert os.listdir(pool.directory) == []
        finally:
            sh("umount", str(pool.directory))


# --- what btrfs prints ------------------------------------------------------------------------------------------------

USAGE = """\
Overall:
    Device size:\t\t        2147483648
    Device allocated:\t\t         239861760
    Device unallocated:\t\t        1907621888
    Device missing:\t\t                 0
    Device slack:\t\t                 0
    Used:\t\t\t            425984
    Free (estimated):\t\t        1916010496\t(min: 962199552)
    Free (statfs, df):\t\t        1914961920
    Data ratio:\t\t\t              1.00
    Metadata ratio:\t\t              2.00
    Global reserve:\t\t           5767168\t(used: 0)
    Multiple profiles:\t\t                no

Data,single: Size:8388608, Used:0 (0.00%)
   /dev/loop1\t   8388608

Metadata,DUP: Size:107347968, Used:196608 (0.18%)
   /dev/loop1\t 214695936

System,DUP: Size:8388608, Used:16384 (0.20%)
   /dev/loop1\t  16777216

Unallocated:
   /dev/loop1\t1907621888
"""


def test_the_room_is_what_is_certain_to_be_left() -> None:
    space = parse_usage(USAGE)
    assert space.size_bytes == 2147483648
    assert space.data_free_bytes == 962199552
    assert space.metadata_free_bytes == 107347968 - 196608 - 5767168 + 1907621888 // 2


def test_metadata_that_has_run_out_is_told_as_nothing_left() -> None:
    full = USAGE.replace("Used:196608", "Used:105000000").replace(
        "unallocated:\t\t        1907621888", "unallocated:\t0"
    )
    assert parse_usage(full).metadata_free_bytes == 0


def test_output_that_is_not_understood_is_an_error_not_a_number() -> None:
    with pytest.raises(DriverError, match="something unknown"):
        parse_usage("Overall:\n    Device size: 1\n")

"""The directory driver on real file systems: what a copy keeps, what a release notices, and what is in the way."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.drivers.base import Presence, Volume
from commands.drivers.host import LocalHost
from commands.drivers.mounts import LinuxMounts
from commands.errors import DriverError
from tests.contracts.real import DirectoryPool, directory_pool, require_root, sh, xfs

pytestmark = pytest.mark.real

HEAD, NEXT, TX, TRASH = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"
RELEASE = f"debian@{TX}"
LOG = Volume(name="log", path="/var/log")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[DirectoryPool]:
    """A pool on the file system of the temporary directory."""
    with directory_pool(tmp_path) as pool:
        yield pool


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_release_keeps_owners_modes_attributes_links_devices_and_times_of_its_head(pool: DirectoryPool) -> None:
    require_root("setfacl", "getfacl")
    pool.storage.begin_template("debian", HEAD, None)
    head = Path(pool.storage.template_path("debian", HEAD))
    (head / "bin").mkdir()
    (head / "bin/ping").write_text("x")
    os.chown(head / "bin/ping", 33, 4)
    (head / "bin/ping").chmod(0o4750)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(head / "bin/ping", "security.capability", capability)
    os.setxattr(head / "bin/ping", "user.colour", b"red")
    sh("setfacl", "-m", "u:33:r", str(head / "bin"))
    os.link(head / "bin/ping", head / "bin/same")
    (head / "bin/link").symlink_to("/etc/shadow")
    os.mkfifo(head / "fifo", 0o600)
    os.mknod(head / "null", 0o20666, os.makedev(1, 3))
    with open(head / "sparse", "wb") as file:
        file.truncate(64 << 20)
    os.utime(head / "bin", (1, 2))
    pool.storage.finish_template("debian", HEAD)
    root = pool.release(RELEASE, HEAD)
    made = os.stat(root / "bin/ping")
    assert (made.st_uid, made.st_gid, made.st_mode & 0o7777) == (33, 4, 0o4750)
    assert os.getxattr(root / "bin/ping", "security.capability") == capability
    assert os.getxattr(root / "bin/ping", "user.colour") == b"red"
    assert "user:www-data:r--" in sh("getfacl", "-p", str(root / "bin"))
    assert made.st_ino == os.stat(root / "bin/same").st_ino
    assert made.st_ino != os.stat(head / "bin/ping").st_ino, "a release must not share a file with its template"
    assert os.readlink(root / "bin/link") == "/etc/shadow"
    assert os.stat(root / "null").st_rdev == os.makedev(1, 3)
    assert os.stat(root / "sparse").st_blocks < 2048
    assert os.stat(root / "bin").st_mtime == 2


def test_a_file_that_is_written_in_place_in_a_template_stays_as_it_was_in_its_release(pool: DirectoryPool) -> None:
    root = pool.furnish()
    head = Path(pool.storage.template_path("debian", HEAD))
    with open(head / "etc/motd", "r+") as file:
        file.write("changed")
    assert (root / "etc/motd").read_text() == f"etc/motd of {HEAD}\n"


def test_on_xfs_a_release_shares_its_blocks_with_the_template(tmp_path: Path) -> None:
    with xfs(tmp_path / "xfs"), directory_pool(tmp_path / "xfs") as pool:
        pool.storage.begin_template("debian", HEAD, None)
        head = Path(pool.storage.template_path("debian", HEAD))
        (head / "file").write_bytes(os.urandom(32 << 20))
        pool.storage.finish_template("debian", HEAD)
        before = pool.storage.space().data_free_bytes
        root = pool.release(RELEASE, HEAD)
        assert before - pool.storage.space().data_free_bytes < 8 << 20
        assert (root / "file").read_bytes() == (head / "file").read_bytes()


def test_a_snapshot_keeps_the_data_of_the_moment(pool: DirectoryPool) -> None:
    pool.furnish()
    log = Path(pool.storage.volume_path("web", "log")) / "app/log"
    log.write_text("before")
    pool.storage.snapshot_volumes("web", ["log"], TX)
    log.write_text("after")
    pool.storage.set_snapshot_aside("web", ["log"], TX)
    (kept,) = pool.storage.snapshots("web")
    assert kept.unwound
    assert (Path(kept.path) / "log/root/app/log").read_text() == "before"


# --- fingerprints -----------------------------------------------------------------------------------------------------


def test_the_fingerprint_stays_through_reading_retiring_and_mounting(pool: DirectoryPool) -> None:
    root = pool.furnish()
    evidence = pool.storage.fingerprint(RELEASE)
    (root / "etc/motd").read_text()
    mounts, there = LinuxMounts(LocalHost()), str(pool.directory / "jail")
    mounts.mount(pool.storage.root_source(RELEASE), there)
    assert pool.storage.fingerprint(RELEASE) == evidence
    mounts.unmount(there)
    pool.storage.retire_release(RELEASE, TRASH)
    pool.storage.restore_release(RELEASE, TRASH)
    assert pool.storage.fingerprint(RELEASE) == evidence


@pytest.mark.parametrize("how", ["content and times put back", "mode", "owner", "new", "gone", "attribute", "root"])
def test_the_fingerprint_tells_any_change_of_a_release(pool: DirectoryPool, how: str) -> None:
    root = pool.furnish()
    evidence = pool.storage.fingerprint(RELEASE)
    file = root / "etc/motd"
    match how:
        case "content and times put back":
            before = file.stat()
            with open(file, "r+") as motd:
                motd.write("X")
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "mode":
            file.chmod(0o600)
        case "owner":
            os.chown(file, 1, 1)
        case "new":
            (root / "var/new").touch()
        case "gone":
            file.unlink()
        case "attribute":
            os.setxattr(file, "user.colour", b"red")
        case _:
            root.chmod(0o700)
    assert pool.storage.fingerprint(RELEASE) != evidence


def test_a_release_that_is_gone_has_no_fingerprint(pool: DirectoryPool) -> None:
    with pytest.raises(DriverError, match="it is not there"):
        pool.storage.fingerprint(RELEASE)


# --- destroying -------------------------------------------------------------------------------------------------------


def test_deleting_follows_no_symlink_out_of_the_tree(pool: DirectoryPool) -> None:
    root = pool.furnish()
    precious = pool.directory / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (root / "etc/out").symlink_to(precious)
    (root / "up").symlink_to("../../../../..")
    pool.storage.destroy_release(RELEASE)
    assert (precious / "file").read_text() == "x"


def test_a_release_that_is_half_deleted_is_never_taken_for_whole_and_is_deleted_further(pool: DirectoryPool) -> None:
    root = pool.furnish()
    doomed = root.with_name("doomed")
    (root / "etc/stays").write_text("x")
    sh("chattr", "+i", str(root / "etc/stays"))
    try:
        with pytest.raises(DriverError, match=r"cannot run rm: .*stays"):
            pool.storage.destroy_release(RELEASE)
        assert not root.exists()
        assert pool.storage.release_presence(RELEASE) is Presence.PARTIAL
    finally:
        sh("chattr", "-i", str(doomed / "etc/stays"))
    pool.storage.destroy_release(RELEASE)
    assert pool.storage.release_presence(RELEASE) is Presence.ABSENT


def test_what_is_mounted_somewhere_or_mounted_upon_is_neither_destroyed_nor_moved(pool: DirectoryPool) -> None:
    root = pool.furnish()
    there = pool.directory / "jail"
    there.mkdir()
    for mount, at in (
        (["--bind", str(root), str(there)], there),
        (["--bind", str(root / "etc"), str(there)], there),
        (["-t", "tmpfs", "tmpfs", str(root / "var")], root / "var"),
    ):
        sh("mount", *mount)
        for act in (
            lambda: pool.storage.destroy_release(RELEASE),
            lambda: pool.storage.retire_release(RELEASE, TRASH),
        ):
            with pytest.raises(DriverError, match="mounted at"):
                act()
        sh("umount", str(at))
        assert pool.storage.release_presence(RELEASE) is Presence.PRESENT
    pool.storage.retire_release(RELEASE, TRASH)

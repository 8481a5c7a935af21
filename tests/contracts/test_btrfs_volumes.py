"""Volumes on a real Btrfs, filled from templates that may mean harm."""

import os
from pathlib import Path

import pytest

from commands.drivers.base import Presence, Volume
from commands.drivers.host import LocalHost
from commands.errors import DriverError
from tests.contracts.real import RealPool, real_pool, sh

HEAD, NEXT, TX, TRASH = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"
RELEASE = f"debian@{TX}"

real = pytest.mark.real


# --- volumes ----------------------------------------------------------------------------------------------------------


@real
def test_a_volume_is_filled_with_owners_modes_attributes_and_links_of_the_release(pool: RealPool) -> None:
    pool.storage.begin_template("debian", HEAD, None)
    root = Path(pool.storage.template_path("debian", HEAD))
    log = root / "var/log"
    log.mkdir(parents=True)
    (log / "app").write_text("x")
    os.chown(log / "app", 33, 4)
    (log / "app").chmod(0o4750)
    os.setxattr(log / "app", "user.colour", b"red")
    os.link(log / "app", log / "same")
    (log / "link").symlink_to("/etc/shadow")
    os.mkfifo(log / "fifo", 0o600)
    os.chown(log, 33, 33)
    log.chmod(0o2770)
    os.setxattr(log, "user.kind", b"logs")
    pool.storage.finish_template("debian", HEAD)
    pool.release(RELEASE, HEAD)
    pool.storage.create_volume("web", Volume(name="log", path="/var/log"), RELEASE)
    made = Path(pool.storage.volume_path("web", "log"))
    assert sorted(os.listdir(made)) == ["app", "fifo", "link", "same"]
    assert (made.stat().st_uid, made.stat().st_gid, made.stat().st_mode & 0o7777) == (33, 33, 0o2770)
    assert os.getxattr(made, "user.kind") == b"logs"
    assert ((made / "app").stat().st_uid, (made / "app").stat().st_gid) == (33, 4)
    assert (made / "app").stat().st_mode & 0o7777 == 0o4750
    assert os.getxattr(made / "app", "user.colour") == b"red"
    assert (made / "app").stat().st_ino == (made / "same").stat().st_ino
    assert os.readlink(made / "link") == "/etc/shadow"
    (made / "new").write_text("a volume can be written")


@real
@pytest.mark.parametrize(
    ("path", "target"), [("var", "../../../../../../../../../etc"), ("var", "/etc"), ("var/log", "/etc/ssl")]
)
def test_a_symlink_does_not_lead_out_of_a_hostile_template(pool: RealPool, path: str, target: str) -> None:
    pool.storage.begin_template("debian", HEAD, None)
    root = Path(pool.storage.template_path("debian", HEAD))
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).symlink_to(target)
    pool.storage.finish_template("debian", HEAD)
    pool.release(RELEASE, HEAD)
    with pytest.raises(DriverError, match="is a symbolic link"):
        pool.storage.create_volume("web", Volume(name="log", path="/var/log"), RELEASE)
    assert pool.storage.volume_presence("web", "log") is Presence.ABSENT


@real
@pytest.mark.parametrize("path", ["/var/log", "/etc/motd", "/etc/../etc"])
def test_a_volume_needs_a_directory_in_the_release(pool: RealPool, path: str) -> None:
    pool.build("debian", HEAD, files=["etc/motd"])
    pool.release(RELEASE, HEAD)
    with pytest.raises(DriverError):
        pool.storage.create_volume("web", Volume(name="log", path=path), RELEASE)
    assert pool.storage.volume_presence("web", "log") is Presence.ABSENT


@real
def test_a_device_file_is_not_copied_into_a_volume(pool: RealPool) -> None:
    head = pool.build("debian", HEAD)
    os.mknod(head / "var/log/app/disk", 0o60666, os.makedev(254, 0))
    pool.release(RELEASE, HEAD)
    with pytest.raises(DriverError, match="/var/log/app/disk is a device file"):
        pool.storage.create_volume("web", Volume(name="log", path="/var/log"), RELEASE)
    assert pool.storage.volume_presence("web", "log") is Presence.ABSENT


@real
def test_a_full_pool_tells_so_and_what_was_begun_can_be_undone(tmp_path: Path) -> None:
    with real_pool(tmp_path, size_bytes=256 << 20) as pool:
        head = pool.build("debian", HEAD)
        pool.release(RELEASE, HEAD)
        with pytest.raises(OSError, match="No space"), open(head / "fill", "wb") as file:
            while True:
                file.write(os.urandom(1 << 20))
                file.flush()
        space = pool.storage.space()
        assert space.data_free_bytes < 8 << 20
        with pytest.raises(DriverError, match="no space left"):
            LocalHost().write(f"{pool.spec.path}/rootswap/x", os.urandom(16 << 20))
        os.unlink(head / "fill")
        sh("btrfs", "filesystem", "sync", pool.spec.path)
        pool.storage.destroy_release(RELEASE)
        pool.storage.destroy_template("debian", HEAD)
        assert pool.storage.releases() == () == pool.storage.templates()

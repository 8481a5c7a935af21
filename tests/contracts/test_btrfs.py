"""The Btrfs driver on a real file system: what other storage does not have, and what is not ours."""

import os
from pathlib import Path

import pytest

from commands.drivers.base import Presence, Volume
from commands.drivers.btrfs_subvolumes import nested_in
from commands.errors import DriverError, Foreign
from tests.contracts.real import RealPool, sh

HEAD, NEXT, TX, TRASH = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"
RELEASE = f"debian@{TX}"

real = pytest.mark.real


# --- releases ---------------------------------------------------------------------------------------------------------


@real
def test_a_release_cannot_be_written_and_does_not_follow_its_head(pool: RealPool) -> None:
    head = pool.build("debian", HEAD)
    root = pool.release(RELEASE, HEAD)
    (head / "etc/motd").write_text("changed")
    assert (root / "etc/motd").read_text() == f"etc/motd of {HEAD}\n"
    with pytest.raises(OSError, match="Read-only"):
        (root / "etc/motd").write_text("changed")


@real
def test_the_fingerprint_changes_with_the_content_and_with_nothing_else(pool: RealPool) -> None:
    head = pool.build("debian", HEAD)
    root = pool.release(RELEASE, HEAD)
    evidence = pool.storage.fingerprint(RELEASE)
    (head / "etc/motd").write_text("the head goes on")
    sh("btrfs", "subvolume", "snapshot", str(root), str(root.parent.parent / "copy"))
    sh("btrfs", "subvolume", "delete", "-c", str(root.parent.parent / "copy"))
    sh("btrfs", "balance", "start", "-m", "-d", "-f", pool.spec.path)
    pool.storage.unmount_pool(pool.spec)
    pool.storage.mount_pool(pool.spec)
    assert pool.storage.fingerprint(RELEASE) == evidence
    sh("btrfs", "property", "set", "-ts", str(root), "ro", "false")
    assert pool.storage.release_presence(RELEASE) is Presence.PARTIAL
    os.chmod(root / "etc/motd", 0o600)
    sh("btrfs", "property", "set", "-ts", str(root), "ro", "true")
    assert pool.storage.release_presence(RELEASE) is Presence.PRESENT
    assert pool.storage.fingerprint(RELEASE) != evidence


@real
def test_a_release_that_is_mounted_is_neither_destroyed_nor_retired(pool: RealPool) -> None:
    pool.build("debian", HEAD)
    root = pool.release(RELEASE, HEAD)
    there = pool.directory / "jail"
    there.mkdir()
    sh("mount", "-o", "bind,ro", str(root), str(there))
    with pytest.raises(DriverError, match="mounted at"):
        pool.storage.destroy_release(RELEASE)
    with pytest.raises(DriverError, match="mounted at"):
        pool.storage.retire_release(RELEASE, TRASH)
    assert pool.storage.release_presence(RELEASE) is Presence.PRESENT
    sh("umount", str(there))
    pool.storage.destroy_release(RELEASE)


@real
def test_a_head_on_a_base_starts_with_its_content_and_goes_its_own_way(pool: RealPool) -> None:
    base = pool.build("debian", HEAD)
    pool.storage.begin_template("debian", NEXT, HEAD)
    root = Path(pool.storage.template_path("debian", NEXT))
    assert (root / "etc/motd").read_text() == f"etc/motd of {HEAD}\n"
    (root / "etc/motd").write_text("next")
    assert (base / "etc/motd").read_text() == f"etc/motd of {HEAD}\n"


@real
def test_a_half_built_head_is_begun_anew_and_a_finished_one_is_not(pool: RealPool) -> None:
    pool.storage.begin_template("debian", HEAD, None)
    left = Path(pool.storage.template_path("debian", HEAD)) / "left"
    left.write_text("by a recipe that was killed")
    pool.storage.begin_template("debian", HEAD, None)
    assert not left.exists()
    pool.storage.finish_template("debian", HEAD)
    with pytest.raises(DriverError, match="finished already"):
        pool.storage.begin_template("debian", HEAD, None)


# --- nested subvolumes ------------------------------------------------------------------------------------------------


@real
def test_empty_nested_subvolumes_become_directories_as_they_were(pool: RealPool) -> None:
    pool.storage.begin_template("debian", HEAD, None)
    root = Path(pool.storage.template_path("debian", HEAD))
    machines = root / "var/lib/machines"
    machines.parent.mkdir(parents=True)
    sh("btrfs", "subvolume", "create", str(machines))
    os.chown(machines, 7, 8)
    machines.chmod(0o700)
    pool.storage.finish_template("debian", HEAD)
    taken = pool.release(RELEASE, HEAD) / "var/lib/machines"
    assert taken.stat().st_ino not in (2, 256)
    assert (taken.stat().st_uid, taken.stat().st_gid, taken.stat().st_mode & 0o7777) == (7, 8, 0o700)


@real
def test_a_nested_subvolume_with_content_is_refused_since_snapshots_would_miss_it(pool: RealPool) -> None:
    pool.storage.begin_template("debian", HEAD, None)
    root = Path(pool.storage.template_path("debian", HEAD))
    sh("btrfs", "subvolume", "create", str(root / "srv"))
    (root / "srv/data").write_text("x")
    with pytest.raises(DriverError, match="srv is a subvolume with content"):
        pool.storage.finish_template("debian", HEAD)
    assert pool.storage.template_presence("debian", HEAD) is Presence.PARTIAL


@real
def test_a_head_is_destroyed_with_all_that_is_nested_in_it_whatever_its_name(pool: RealPool) -> None:
    pool.storage.begin_template("debian", HEAD, None)
    root = Path(pool.storage.template_path("debian", HEAD))
    for nested in ("a b", "a b/path -c", "-x"):
        sh("btrfs", "subvolume", "create", str(root / nested))
    os.rename(root / "a b/path -c", os.fsencode(root / "a b") + b"/\xff")
    bystander = Path(pool.spec.path) / "bystander"
    sh("btrfs", "subvolume", "create", str(bystander))
    pool.storage.destroy_template("debian", HEAD)
    assert pool.storage.template_presence("debian", HEAD) is Presence.ABSENT
    assert [line.split(" path ")[1] for line in sh("btrfs", "subvolume", "list", pool.spec.path).splitlines()] == [
        "bystander"
    ]


def test_nested_subvolumes_are_told_outermost_first_with_their_paths() -> None:
    listing = (
        "ID 256 gen 9 top level 5 path rootswap/templates/debian/aaaaaaaa/root\n"
        "ID 259 gen 9 top level 261 path rootswap/templates/debian/aaaaaaaa/root/a/b c\n"
        "ID 260 gen 9 top level 5 path other\n"
        "ID 261 gen 9 top level 256 path rootswap/templates/debian/aaaaaaaa/root/a\n"
        "ID 262 gen 9 top level 260 path other/x\n"
    )
    assert list(nested_in(256, listing).items()) == [(261, "a"), (259, "a/b c")]
    assert nested_in(262, listing) == {}


# --- snapshots --------------------------------------------------------------------------------------------------------


@real
def test_a_snapshot_keeps_the_data_of_the_moment_read_only(pool: RealPool) -> None:
    pool.build("debian", HEAD)
    pool.release(RELEASE, HEAD)
    pool.storage.create_volume("web", Volume(name="log", path="/var/log"), RELEASE)
    log = Path(pool.storage.volume_path("web", "log")) / "app/log"
    log.write_text("before")
    pool.storage.snapshot_volumes("web", ["log"], TX)
    log.write_text("after")
    (kept,) = pool.storage.snapshots("web")
    assert (Path(kept.path) / "log/app/log").read_text() == "before"
    with pytest.raises(OSError, match="Read-only"):
        (Path(kept.path) / "log/app/log").write_text("x")
    pool.storage.set_snapshot_aside("web", ["log"], TX)
    (kept,) = pool.storage.snapshots("web")
    assert (Path(kept.path) / "log/app/log").read_text() == "before"


@real
def test_a_writable_subvolume_in_place_of_a_snapshot_is_foreign(pool: RealPool) -> None:
    place = Path(pool.spec.path) / "rootswap/snapshots/web" / TX
    place.mkdir(parents=True)
    sh("btrfs", "subvolume", "create", str(place / "log"))
    assert pool.storage.snapshot_presence("web", ["log"], TX) is Presence.FOREIGN
    with pytest.raises(Foreign):
        pool.storage.set_snapshot_aside("web", ["log"], TX)
    assert (place / "log").is_dir()


# --- marks ------------------------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize(
    "mark", [b"", b"{}", b'{"rootswap":1,"marks":"releases/debian@bbbbbbbb","state":"built"}', b"\xff"]
)
def test_a_mark_that_is_not_for_this_release_makes_it_foreign(pool: RealPool, mark: bytes) -> None:
    pool.build("debian", HEAD)
    root = pool.release(RELEASE, HEAD)
    (root.parent / "mark").write_bytes(mark)
    assert pool.storage.release_presence(RELEASE) is Presence.FOREIGN
    assert pool.storage.releases() == ()
    with pytest.raises(Foreign):
        pool.storage.destroy_release(RELEASE)
    assert (root / "etc/motd").exists()


@real
def test_a_symlink_or_a_directory_in_place_of_a_root_is_foreign(pool: RealPool) -> None:
    pool.build("debian", HEAD)
    root = pool.release(RELEASE, HEAD)
    other = Path(pool.storage.template_path("debian", HEAD))
    root.rename(root.with_name("aside"))
    for make in (lambda: root.symlink_to(other), root.mkdir):
        make()
        assert pool.storage.release_presence(RELEASE) is Presence.FOREIGN
        with pytest.raises(Foreign):
            pool.storage.destroy_release(RELEASE)
        root.unlink() if root.is_symlink() else root.rmdir()
    assert (other / "etc/motd").exists()


@real
def test_files_with_names_that_are_not_ours_are_not_listed(pool: RealPool) -> None:
    pool.build("debian", HEAD)
    pool.release(RELEASE, HEAD)
    home = Path(pool.spec.path) / "rootswap"
    for stray in ("releases/Readme.txt", "releases/debian@short", "templates/lost+found/x", "volumes/web/.hidden"):
        (home / stray).mkdir(parents=True)
    assert pool.storage.releases() == (RELEASE,)
    assert pool.storage.templates() == (("debian", HEAD),)
    assert pool.storage.volumes("web") == ()

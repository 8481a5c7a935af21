"""What the ZFS driver is held to beyond the contract, on the guest's own zpool: the tests of the fake that ask no more
of its world than a real one has, and what a fake cannot tell. Collected in the guest only.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.drivers.base import PoolSpec, Presence, Volume
from commands.drivers.mounts import LinuxMounts
from commands.drivers.zfs import ZfsStorage
from commands.errors import DriverError
from tests.contracts import test_zfs
from tests.contracts.real import sh, unmount_all
from tests.contracts.test_zfs import HEAD, HOME_VOLUME, LAST, LOG, NEW, NEWER, NEXT, RELEASE, TX
from tests.fakes.tree import Blob
from tests.fakes.zfs_pool import HOME, PATH
from tests.vm.inside.recording import RecordingHost

_SHARED = (
    "test_the_data_of_a_jail_is_kept_by_one_command_and_no_other",
    "test_upgrades_make_no_chain_of_clones_and_old_releases_give_their_space_back",
    "test_a_release_keeps_its_evidence_when_its_snapshot_moves_to_another_data_set",
    "test_two_releases_outlive_their_only_head_and_go_in_either_order",
    "test_heads_that_stem_from_one_base_outlive_it_whichever_goes_first",
    "test_a_release_that_was_written_to_is_told_by_its_fingerprint",
    "test_two_jails_run_on_one_release_and_it_cannot_go_from_under_them",
    "test_a_hold_of_somebody_else_is_named_before_anything_is_touched",
    "test_a_mark_that_is_inherited_or_of_another_thing_is_none",
    "test_a_quota_is_for_the_data_and_not_for_what_is_kept_of_it",
    "test_the_bytes_that_a_return_would_lose_are_told",
    "test_a_volume_with_kept_data_is_not_destroyed",
    "test_what_is_not_mounted_is_not_whole",
)
globals().update({name: vars(test_zfs)[name] for name in _SHARED})


class RealWorld:
    """The part of the fake's world that the shared tests use, on this machine."""

    def make_directory(self, path: str) -> None:
        """With what it is in."""
        Path(path).mkdir(parents=True, exist_ok=True)

    def write(self, path: str, content: bytes | Blob) -> None:
        """A blob is as many bytes as it says, none of which can be compressed away; all of it is on the disk then."""
        data = content if isinstance(content, bytes) else os.urandom(content.size_bytes)
        Path(path).write_bytes(data)
        sh("zpool", "sync", "tank")

    def find(self, path: str) -> Path | None:
        """What is there."""
        return Path(path) if Path(path).exists() else None

    def picture(self) -> str:
        """Everything that there is."""
        asked = "guid,mounted,userrefs,clones,defer_destroy"
        told = sh("zfs", "get", "-Hp", "-o", "name,property,value", "-r", "-t", "all", asked, HOME)
        return told + Path("/proc/self/mounts").read_text()


class RealPool:
    """As ``tests.fakes.zfs_pool.FakePool``."""

    def __init__(self) -> None:
        self.world = RealWorld()
        self.host = RecordingHost(None, "")
        self.spec = PoolSpec(driver="zfs", path=PATH, dataset=HOME)
        self.mounts = LinuxMounts(self.host)
        self.storage = ZfsStorage(self.host, self.mounts, self.spec)

    def zfs(self, *argv: str) -> str:
        """What an administrator types; it has to succeed."""
        return sh("zfs", *argv)

    def build(self, template: str, head: str, *, base: str | None = None) -> str:
        """A finished head with a few directories; its root."""
        self.storage.begin_template(template, head, base)
        root = Path(self.storage.template_path(template, head))
        for name in ("var/log/nginx", "home", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "var/log/nginx/log").write_text(f"log of {head}")
        (root / "home/file").write_text(f"file of {head}")
        self.storage.finish_template(template, head)
        return str(root)

    def changes(self) -> list[str]:
        """The commands of zfs that changed something. It begins anew each time."""
        looks = ("get", "list", "holds", "mount", "unmount")
        ran = [" ".join(argv) for argv in self.host.ran if argv[0] == "zfs" and argv[1] not in looks]
        self.host.ran.clear()
        return ran


@pytest.fixture
def on() -> Iterator[RealPool]:
    pool = RealPool()
    try:
        pool.storage.create_pool(pool.spec)
        pool.build("debian", HEAD)
        pool.storage.take_release(RELEASE, HEAD)
        pool.changes()
        yield pool
    finally:
        unmount_all(Path("/rs"))
        asked = ["zfs", "list", "-H", "-t", "snapshot", "-o", "name", "-r", "tank"]
        for name in sh(*asked).split():
            for tag in ("rootswap", "backup"):
                subprocess.run(["zfs", "release", tag, name], check=False, capture_output=True)
        subprocess.run(["zfs", "destroy", "-R", "-f", HOME], check=False, capture_output=True)


def test_a_volume_is_filled_as_the_release_has_it_owners_and_modes_too(on: RealPool) -> None:
    place = Path(on.storage.template_path("debian", HEAD), "var/log/nginx")
    place.chmod(0o2750)
    os.chown(place, 33, 34)
    (place / "deep").mkdir()
    (place / "deep" / "link").symlink_to("../log")
    sh("busybox", "touch", "-d", "2001-02-03 04:05:06", str(place))
    on.storage.take_release(NEWER, HEAD)
    on.storage.create_volume("web", LOG, NEWER)
    made = Path(on.storage.volume_path("web", "log"))
    found = made.stat()
    assert (oct(found.st_mode), found.st_uid, found.st_gid) == ("0o42750", 33, 34)
    assert sorted(path.name for path in made.rglob("*")) == ["deep", "link", "log"]
    assert (made / "deep" / "link").read_text() == f"log of {HEAD}"


def test_an_untouched_release_has_the_same_evidence_however_often_it_is_mounted_and_imported(on: RealPool) -> None:
    """A clone that nobody has written to says that 1024 bytes were: what counts is that it says so each time."""
    evidence = on.storage.fingerprint(RELEASE)
    for _ in range(2):
        on.storage.unmount_pool(on.spec)
        sh("zpool", "export", "tank")
        sh("zpool", "import", "-d", "/dev/disk/by-id", "tank")
        on.storage.mount_pool(on.spec)
        assert on.storage.fingerprint(RELEASE) == evidence
        assert on.storage.release_presence(RELEASE) is Presence.PRESENT


def test_nothing_of_ours_is_mounted_by_an_import_or_by_mount_all(on: RealPool) -> None:
    on.storage.create_volume("web", LOG, RELEASE)
    on.storage.begin_template("debian", NEXT, HEAD)
    on.storage.unmount_pool(on.spec)
    sh("zpool", "export", "tank")
    sh("zpool", "import", "-d", "/dev/disk/by-id", "tank")
    sh("zfs", "mount", "-a")
    assert PATH not in Path("/proc/mounts").read_text()
    assert on.storage.pool_mounted(on.spec) is Presence.ABSENT
    on.storage.mount_pool(on.spec)
    assert on.storage.pool_mounted(on.spec) is Presence.PRESENT
    assert on.storage.volume_presence("web", "log") is Presence.PRESENT
    assert on.storage.template_presence("debian", NEXT) is Presence.PARTIAL


def test_the_base_of_a_head_goes_with_the_last_that_stems_from_it(on: RealPool) -> None:
    """`zfs destroy -d` of what was promoted out of the way."""
    on.build("debian", NEXT, base=HEAD)
    on.build("debian", LAST, base=NEXT)
    for head in (HEAD, NEXT, LAST):
        on.storage.destroy_template("debian", head)
        snapshots = sh("zfs", "list", "-H", "-t", "snapshot", "-o", "name", "-r", f"{HOME}/templates").split()
        assert not [name for name in snapshots if f"@base-{head}" in name], snapshots
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT
    on.storage.destroy_release(RELEASE)
    on.storage.destroy_pool(on.spec)
    assert on.storage.pool_presence(on.spec) is Presence.ABSENT
    on.storage.create_pool(on.spec)


def test_a_full_zpool_takes_no_snapshot_and_the_sentence_says_why(on: RealPool) -> None:
    on.storage.create_volume("web", LOG, RELEASE)
    sh("zfs", "set", "quota=1M", HOME)
    with pytest.raises(OSError, match=r"quota|space"):
        for number in range(8):
            on.world.write(f"{on.storage.volume_path('web', 'log')}/{number}", Blob(b"", 1 << 20))
    assert on.storage.space().data_free_bytes < 1 << 19
    with pytest.raises(DriverError, match="cannot") as refused:
        on.storage.create_volume("web", HOME_VOLUME, RELEASE)
    print(refused.value)
    sh("zfs", "set", "quota=none", HOME)
    on.storage.create_volume("web", HOME_VOLUME, RELEASE)
    assert on.storage.volumes("web") == ("home", "log")


def test_a_template_that_something_uses_is_not_destroyed(on: RealPool) -> None:
    place = on.storage.template_path("debian", HEAD)
    with open(f"{place}/home/file"), pytest.raises(DriverError, match="busy"):
        on.storage.destroy_template("debian", HEAD)
    assert on.storage.templates() == (("debian", HEAD),)
    on.storage.mount_pool(on.spec)
    assert on.storage.template_presence("debian", HEAD) is Presence.PRESENT
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT


def test_names_as_long_as_they_may_be(on: RealPool) -> None:
    jail, volume = "j" * 32, "v" * 32
    on.storage.create_volume(jail, Volume(name=volume, path="/home"), RELEASE)
    on.storage.snapshot_volumes(jail, [volume], NEW)
    assert on.storage.snapshot_presence(jail, [volume], NEW) is Presence.PRESENT
    assert [one.transaction for one in on.storage.snapshots(jail)] == [NEW]
    assert TX in on.storage.root_source(RELEASE).what

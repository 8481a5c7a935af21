"""What a fake LVM cannot tell, asked of the guest's own: attributes, activation, superblocks, full pools. Collected in
the guest only. A command of LVM takes seconds there, so each test asks for more than one thing.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.drivers.base import PoolSpec, Presence, Source
from commands.drivers.lvm import LvmStorage, NewVolumes
from commands.drivers.lvm_report import name_of
from commands.drivers.mounts import LinuxMounts
from commands.errors import DriverError, Foreign
from tests.contracts.real import sh, unmount_all
from tests.fakes.lvm_pool import HEAD, HOME, LOG, NEXT, RELEASE, TX
from tests.vm.inside.recording import RecordingHost


class RealPool:
    """As ``tests.fakes.lvm_pool.FakePool``, on the thin pool ``vg/pool`` or another one."""

    def __init__(self, directory: Path, file_system: str = "ext4", pool: str = "pool") -> None:
        self.host = RecordingHost(None, "")
        self.spec = PoolSpec(driver="lvm", path=str(directory / "pool"), thin_pool=f"vg/{pool}")
        new = NewVolumes("xfs" if file_system == "xfs" else "ext4", 512 << 20, 320 << 20)
        self.storage = LvmStorage(self.host, self.spec, new)
        self.mounts = LinuxMounts(self.host)

    def attributes(self, key: str) -> str:
        """The column lv_attr of what ``key`` is called."""
        return sh("lvs", "--noheadings", "-o", "lv_attr", device(key)).strip()

    def jail(self) -> None:
        """A jail with two volumes on a release."""
        self.storage.create_pool(self.spec)
        self.storage.begin_template("debian", HEAD, None)
        root = Path(self.storage.template_path("debian", HEAD))
        for directory in ("var/log", "home"):
            (root / directory).mkdir(parents=True)
        (root / "var/log/app").write_text(f"log of {HEAD}")
        self.storage.finish_template("debian", HEAD)
        self.storage.take_release(RELEASE, HEAD)
        for volume in (LOG, HOME):
            self.storage.create_volume("web", volume, RELEASE)

    def reboot(self) -> None:
        """What a reboot does: nothing is mounted, and LVM activates what it activates by itself."""
        unmount_all(Path(self.spec.path))
        sh("vgchange", "-q", "-an", "vg")
        sh("vgchange", "-q", "-aay", "vg")


def device(key: str) -> str:
    """The device of ``releases/…`` and the like."""
    return f"/dev/vg/{name_of('vg', key)}"


@pytest.fixture(params=["ext4", "xfs"])
def thin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealPool]:
    pool = RealPool(tmp_path, request.param)
    try:
        pool.jail()
        yield pool
    finally:
        clear(tmp_path)


def clear(directory: Path) -> None:
    """An empty pool, as it was."""
    unmount_all(directory)
    sh("lvremove", "-q", "-f", "-y", "vg")
    sh("lvcreate", "-q", "-y", "--type", "thin-pool", "-L", "2G", "-n", "pool", "vg")


@pytest.mark.parametrize("thin", ["ext4"], indirect=True)
def test_what_is_made_is_activated_skipped_mounted_and_frozen_as_it_has_to_be(thin: RealPool) -> None:
    thin.storage.snapshot_volumes("web", ["log", "home"], TX)
    kept = f"snapshots/web/{TX}/log"
    assert thin.attributes(f"releases/{RELEASE}") == "Vri-a-tz--"
    assert thin.attributes(f"templates/debian/{HEAD}") == "Vwi-a-tz--"
    assert thin.attributes("volumes/web/log") == "Vwi-aotz--"
    assert thin.attributes(kept) == "Vri---tz-k"

    (Path(thin.storage.volume_path("web", "log")) / "app").write_text("written")
    evidence = thin.storage.fingerprint(RELEASE)
    sh("lvchange", "-q", "-ky", device(f"releases/{RELEASE}"))
    thin.reboot()
    assert thin.attributes(f"releases/{RELEASE}") == "Vri---tz-k"
    assert thin.storage.pool_presence(thin.spec) is Presence.PARTIAL
    thin.storage.mount_pool(thin.spec)
    assert thin.storage.pool_presence(thin.spec) is Presence.PRESENT
    assert thin.attributes(f"releases/{RELEASE}") == "Vri-a-tz-k"
    assert thin.attributes(kept) == "Vri---tz-k"
    assert (Path(thin.storage.volume_path("web", "log")) / "app").read_text() == "written"
    assert thin.storage.fingerprint(RELEASE) == evidence

    sh("lvchange", "-q", "-ay", "-K", device(kept))
    thin.mounts.mount(Source("device", device(kept)), f"{thin.spec.path}/look")
    assert Path(thin.spec.path, "look/app").read_text() == f"log of {HEAD}"
    sh("umount", f"{thin.spec.path}/look")
    sh("lvchange", "-q", "-an", device(kept))


def test_releases_of_one_file_system_are_mounted_side_by_side_and_one_in_use_stays(thin: RealPool) -> None:
    thin.storage.begin_template("debian", NEXT, HEAD)
    root = Path(thin.storage.template_path("debian", NEXT))
    (root / "var/log/app").write_text("next")
    thin.storage.finish_template("debian", NEXT)
    thin.storage.take_release(f"debian@{NEXT}", NEXT)
    told = {}
    for release in (RELEASE, f"debian@{NEXT}"):
        place = f"{thin.spec.path}/jails/{release}"
        thin.mounts.mount(thin.storage.root_source(release), place)
        assert thin.mounts.holds(place, thin.storage.root_source(release))
        told[release] = Path(place, "var/log/app").read_text()
        with pytest.raises(OSError, match="Read-only"):
            Path(place, "new").write_text("x")
        with pytest.raises(DriverError, match=f"it is mounted at {place}"):
            thin.storage.destroy_release(release)
        assert thin.attributes(f"releases/{release}") == "Vri-aotz--"
    assert told == {RELEASE: f"log of {HEAD}", f"debian@{NEXT}": "next"}
    sh("umount", f"{thin.spec.path}/jails/{RELEASE}")
    with open(device(f"releases/{RELEASE}"), "rb"), pytest.raises(DriverError, match="it is in use"):
        thin.storage.destroy_release(RELEASE)
    thin.storage.destroy_release(RELEASE)
    assert thin.storage.releases() == (f"debian@{NEXT}",)


def test_a_release_that_was_made_writable_and_mounted_is_found_out(thin: RealPool) -> None:
    evidence = thin.storage.fingerprint(RELEASE)
    place = f"{thin.spec.path}/evil"
    sh("lvchange", "-q", "-prw", device(f"releases/{RELEASE}"))
    assert thin.storage.release_presence(RELEASE) is Presence.PARTIAL
    Path(place).mkdir()
    sh("mount", "-o", "nouuid" if "xfs" in sh("blkid", device(f"releases/{RELEASE}")) else "rw",
       device(f"releases/{RELEASE}"), place)  # fmt: skip
    Path(place, "var/log/app").write_text("evil")
    sh("umount", place)
    sh("lvchange", "-q", "-pr", device(f"releases/{RELEASE}"))
    assert thin.storage.release_presence(RELEASE) is Presence.PRESENT
    assert thin.storage.fingerprint(RELEASE) != evidence


def test_names_tags_and_sets_hold_in_the_words_of_the_real_one(tmp_path: Path) -> None:
    pool = RealPool(tmp_path)
    try:
        pool.jail()
        long = "a-" * 15 + "_t"
        pool.storage.begin_template(long, NEXT, None)
        pool.storage.finish_template(long, NEXT)
        pool.storage.take_release(f"{long}@{TX}", NEXT)
        assert (pool.storage.templates(), pool.storage.releases()) == (
            ((long, NEXT), ("debian", HEAD)),
            (f"{long}@{TX}", RELEASE),
        )
        pool.storage.snapshot_volumes("web", ["home", "log"], TX)
        old, new = (name_of("vg", f"{kind}/web/{TX}/home") for kind in ("snapshots", "unwound"))
        sh("lvrename", "vg", old, new)
        assert pool.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.PARTIAL
        pool.storage.set_snapshot_aside("web", ["home", "log"], TX)
        (kept,) = pool.storage.snapshots("web")
        assert (kept.volumes, kept.unwound) == (("home", "log"), True)
        sh("lvchange", "--deltag", "rootswap", device(f"releases/{RELEASE}"))
        assert pool.storage.release_presence(RELEASE) is Presence.FOREIGN
        with pytest.raises(Foreign, match="it is not ours"):
            pool.storage.destroy_release(RELEASE)
    finally:
        clear(tmp_path)


def test_a_thin_pool_that_is_full_of_data_is_refused_by_what_lvs_says_of_it(tmp_path: Path) -> None:
    sh("lvcreate", "-q", "-y", "--type", "thin-pool", "-L", "32M", "-n", "small", "vg")
    sh("lvchange", "-q", "--errorwhenfull", "y", "vg/small")
    pool = RealPool(tmp_path, pool="small")
    try:
        pool.storage.create_pool(pool.spec)
        assert not [caution for caution in pool.storage.space().cautions if "writes wait" in caution]
        sh("lvcreate", "-q", "-y", "-V", "128M", "-T", "vg/small", "-n", "theirs")
        wrote = subprocess.run(
            ["dd", "if=/dev/urandom", "of=/dev/vg/theirs", "bs=1M", "count=64", "oflag=direct"],
            check=False,
            capture_output=True,
        )
        assert wrote.returncode != 0
        for ask in (lambda: pool.storage.pool_presence(pool.spec), pool.storage.space):
            with pytest.raises(DriverError, match="cannot use thin pool vg/small: it is out_of_data"):
                ask()
    finally:
        clear(tmp_path)

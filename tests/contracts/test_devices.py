"""File systems on real block devices (loops), as the roots and volumes of LVM are: mounting, holding, moving, running.

What LVM itself does is not here; see test_lvm.py.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.drivers.base import PoolSpec, Source
from commands.drivers.host import LocalHost
from commands.drivers.lvm import LvmStorage, NewVolumes
from commands.drivers.mounts import LinuxMounts, is_mount_of, mount_device, mounts_of_device
from commands.errors import DriverError, Foreign
from tests.contracts.jail_fixtures import RUNTIMES, jail_site, tiny_root
from tests.contracts.real import require_root, sh, unmount_all

pytestmark = pytest.mark.real

CLONE_NEWNS = 0x00020000
SIZES = {"ext4": 64 << 20, "xfs": 300 << 20}


@dataclass
class Devices:
    """Two devices with the same file system, as a snapshot and its origin are: ``copy`` was made of a mounted one."""

    kind: str
    origin: str
    copy: str
    home: Path
    mounts: LinuxMounts

    @property
    def sources(self) -> tuple[Source, Source]:
        return Source("device", self.origin), Source("device", self.copy)


@pytest.fixture
def own_mounts() -> Iterator[None]:
    """A mount namespace of the test's own.

    Whoever makes a namespace while a device is mounted gets a copy of the mount, and the device stays in use until that
    namespace is gone: other programs on this machine must not see these mounts.
    """
    require_root("mkfs.xfs")
    libc = ctypes.CDLL(None, use_errno=True)
    former = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        assert libc.unshare(CLONE_NEWNS) == 0
        sh("mount", "--make-rprivate", "/")
        yield
        assert libc.setns(former, CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(former)


@pytest.fixture(params=SIZES)
def devices(request: pytest.FixtureRequest, tmp_path: Path, own_mounts: None) -> Iterator[Devices]:
    kind: str = request.param
    require_root(f"mkfs.{kind}", "blkid")
    image, copy, path = tmp_path / "image", tmp_path / "copy", tmp_path / "origin"
    image.touch()
    os.truncate(image, SIZES[kind])
    sh(f"mkfs.{kind}", "-q", str(image))
    loops = []
    try:
        loops.append(sh("losetup", "-f", "--show", str(image)).strip())
        path.mkdir()
        mount_device(LocalHost(), loops[0], str(path), writable=True)
        tiny_root(path / "root")
        for directory in (path / "root").iterdir():
            shutil.move(directory, path)
        (path / "which").write_text("one")
        sh("sync", "-f", str(path))
        (path / "late").write_text("in the journal, perhaps")
        sh("fsfreeze", "--freeze", str(path))  # as the device mapper does when it takes a snapshot
        try:
            sh("cp", "--sparse=always", str(image), str(copy))
        finally:
            sh("fsfreeze", "--unfreeze", str(path))
        sh("umount", str(path))
        loops.append(sh("losetup", "-r", "-f", "--show", str(copy)).strip())
        yield Devices(kind, loops[0], loops[1], tmp_path / "jails", LinuxMounts(LocalHost()))
    finally:
        unmount_all(tmp_path)
        for loop in loops:
            sh("losetup", "-d", loop)


def test_two_devices_with_one_file_system_are_mounted_read_only_at_once_and_told_apart(devices: Devices) -> None:
    one, two = devices.sources
    paths = [str(devices.home / name) for name in ("one", "two")]
    for path, source in zip(paths, (one, two), strict=True):
        for _ in range(2):
            devices.mounts.mount(source, path)
            assert devices.mounts.layers(path) == 1
        assert Path(path, "late").exists()
        with pytest.raises(OSError, match="Read-only"):
            Path(path, "which").write_text("x")
    assert devices.mounts.holds(paths[0], one)
    assert not devices.mounts.holds(paths[0], two)
    assert devices.mounts.holds(paths[1], two)
    with pytest.raises(Foreign):
        devices.mounts.mount(one, paths[1])


def test_mounting_writes_nothing_to_the_device(devices: Devices) -> None:
    written = sectors_written(devices.origin)
    devices.mounts.mount(devices.sources[0], str(devices.home))
    sh("ls", "-lR", str(devices.home))
    devices.mounts.unmount(str(devices.home))
    assert sectors_written(devices.origin) == written
    mount_device(LocalHost(), devices.origin, str(devices.home), writable=True)
    sh("umount", str(devices.home))
    assert sectors_written(devices.origin) > written


def sectors_written(device: str) -> int:
    """What the kernel has counted."""
    return int(Path(f"/sys/block/{Path(device).name}/stat").read_text().split()[6])


@pytest.mark.parametrize("devices", ["xfs"], indirect=True)
def test_an_xfs_whose_uuid_is_mounted_already_is_mounted_by_us_and_not_without_our_options(devices: Devices) -> None:
    for name in ("theirs", "plain"):
        (devices.home / name).mkdir(parents=True)
    sh("mount", "-t", "xfs", devices.origin, str(devices.home / "theirs"))
    plain = ["mount", "-t", "xfs", "-o", "ro,norecovery", devices.copy, str(devices.home / "plain")]
    assert subprocess.run(plain, check=False, capture_output=True).returncode != 0
    devices.mounts.mount(devices.sources[1], str(devices.home / "ours"))
    assert (devices.home / "ours/which").read_text() == "one"


def test_a_device_is_moved_and_bound_and_stays_known_by_its_number(devices: Devices) -> None:
    one, two = devices.sources
    old, new = str(devices.home / "stage"), str(devices.home / "root")
    devices.mounts.mount(one, old)
    devices.mounts.move(old, new)
    assert devices.mounts.layers(old) == 0
    assert devices.mounts.holds(new, one)
    link = devices.home / "by-another-name"
    link.symlink_to(devices.origin)
    assert devices.mounts.holds(new, Source("device", str(link)))
    assert [mount.path for mount in mounts_of_device(LocalHost(), devices.origin)] == [new]
    assert not is_mount_of(LocalHost(), new, devices.copy)
    sh("mount", "--bind", f"{new}/bin", str(devices.home / "stage"))
    assert not devices.mounts.holds(old, one), "a part of a device is not the device"
    assert not devices.mounts.holds(new, two)


def test_a_device_without_a_file_system_or_none_at_all_is_told(devices: Devices, tmp_path: Path) -> None:
    for device in ("/dev/null", "/dev/nonexistent"):
        with pytest.raises(DriverError, match=f"cannot mount {device} at .*: there is no file system on it"):
            devices.mounts.mount(Source("device", device), str(devices.home))
    assert devices.mounts.layers(str(devices.home)) == 0


@pytest.mark.parametrize("how", ["file is written over in place", "mode", "nothing"])
def test_the_superblock_tells_that_the_file_system_was_written_to(devices: Devices, how: str) -> None:
    """What the fingerprint of a release rests on."""
    before = superblock(devices.origin)
    path = devices.home / "rw"
    path.mkdir(parents=True)
    if how == "nothing":
        devices.mounts.mount(devices.sources[0], str(path))
    else:
        mount_device(LocalHost(), devices.origin, str(path), writable=True)
        if how == "mode":
            (path / "which").chmod(0o600)
        else:
            with open(path / "which", "r+") as file:
                file.write("two")
    sh("umount", str(path))
    assert (superblock(devices.origin) == before) is (how == "nothing")


def superblock(device: str) -> str:
    """What the driver looks at, by its own command."""
    spec = PoolSpec(driver="lvm", path="/nonexistent", thin_pool="vg/pool")
    return LvmStorage(LocalHost(), spec, NewVolumes())._superblock(device)


@pytest.mark.parametrize("devices", ["ext4"], indirect=True)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_jail_runs_on_a_device_and_is_known_to(devices: Devices, tmp_path: Path, runtime: str) -> None:
    one, two = devices.sources
    (tmp_path / "site").mkdir()
    with jail_site(tmp_path / "site", runtime) as site:
        root = str(tmp_path / "site/device")
        devices.mounts.mount(one, root)
        spec = site.spec(root=root)
        site.jails.start(spec)
        assert site.jails.runs_on(spec, one)
        assert not site.jails.runs_on(spec, two)
        assert not site.jails.runs_on(spec, Source("bind", str(site.root)))
        assert site.jails.runs_on(spec, Source("bind", root))
        site.jails.stop(spec)
        devices.mounts.unmount(root)

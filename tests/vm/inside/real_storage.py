"""The contract of Storage on the guest's own ZFS or LVM, named by VM_STORAGE. Collected in the guest only.

What the tools were asked and what they answered is written to the file VM_CAPTURE, if it is named.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.drivers.base import PoolSpec
from commands.drivers.host import LocalHost
from commands.drivers.lvm import LvmStorage, NewVolumes
from commands.drivers.lvm_report import name_of
from commands.drivers.mounts import LinuxMounts
from commands.drivers.zfs import ZfsStorage
from tests.contracts import test_storage
from tests.contracts.real import sh, unmount_all
from tests.contracts.test_storage import Backend
from tests.vm.inside.recording import RecordingHost

DATASET = "tank/rootswap"
globals().update({name: value for name, value in vars(test_storage).items() if name.startswith("test_")})


def zfs(directory: Path, host: LocalHost) -> Iterator[Backend]:
    """A data set in the zpool ``tank``."""
    pool = PoolSpec(driver="zfs", path=str(directory / "pool"), dataset=DATASET)
    storage = ZfsStorage(host, LinuxMounts(host), pool)

    def plant(key: str) -> None:
        kind, *names = key.split(":")
        if kind == "snapshot":
            jail, transaction, volume = names
            sh("zfs", "snapshot", f"{DATASET}/volumes/{jail}:{volume}@{transaction}")
        else:
            name = ":".join(names).replace("@", ":")
            sh("zfs", "create", "-o", "canmount=noauto", f"{DATASET}/{kind}s/{name}")

    try:
        storage.create_pool(pool)
        yield Backend(storage, pool, plant)
    finally:
        for name in subprocess.run(
            ["zfs", "list", "-H", "-t", "snapshot", "-o", "name"], check=True, capture_output=True, text=True
        ).stdout.split():
            subprocess.run(["zfs", "release", "rootswap", name], check=False, capture_output=True)
        subprocess.run(["zfs", "destroy", "-R", "-f", DATASET], check=False, capture_output=True)
        unmount_all(directory)


def lvm(_: Path, host: LocalHost) -> Iterator[Backend]:
    """The thin pool ``vg/pool``, always at one place: that is in its tag, and to tag it takes long."""
    directory = Path("/mnt/lvm")
    pool = PoolSpec(driver="lvm", path=str(directory / "pool"), thin_pool="vg/pool")
    storage = LvmStorage(host, pool, NewVolumes(root_bytes=64 << 20, volume_bytes=64 << 20))

    def plant(key: str) -> None:
        kind, *names = key.split(":")
        name = name_of("vg", "/".join([f"{kind}s", *names]))
        sh("lvcreate", "-q", "-y", "-V", "32M", "-T", "vg/pool", "-n", name)

    try:
        storage.create_pool(pool)
        yield Backend(storage, pool, plant)
    finally:
        unmount_all(directory)
        shutil.rmtree(directory, ignore_errors=True)
        sh("lvremove", "-q", "-f", "-y", "-S", "pool_lv=pool", "vg")


STORAGES = {"lvm": lvm, "zfs": zfs}


@pytest.fixture
def on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    capture = os.environ.get("VM_CAPTURE")
    host = RecordingHost(Path(capture) if capture else None, request.node.name, {str(tmp_path): "/DIRECTORY"})
    yield from STORAGES[os.environ["VM_STORAGE"]](tmp_path, host)

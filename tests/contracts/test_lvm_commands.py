"""The real LVM reads the command lines that the driver gives to the fake one, though it can do nothing here.

Without a device mapper no thin volume can be made on this machine. But the real commands tell a command line that they
do not accept (status 3) from one that they do, and that names a volume group which is not there (status 5).
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from commands.drivers.base import PoolSpec
from commands.drivers.host import LocalHost
from commands.drivers.lvm import LvmStorage, NewVolumes
from commands.errors import DriverError
from tests.fakes.lvm_host import LVM
from tests.fakes.lvm_pool import HEAD, NEXT, RELEASE, TRASH, TX, FakePool, make_pool

pytestmark = pytest.mark.real

NO_SUCH = "rootswap-no-such-group"
NOT_ACCEPTED, FAILED = 3, 5
WITHOUT_DEVICE_MAPPER = ("--driverloaded", "n")


@pytest.fixture
def no_devices(tmp_path: Path) -> dict[str, str]:
    """An environment in which LVM looks at no device of this machine."""
    if os.geteuid() != 0 or shutil.which("lvs") is None:
        pytest.skip("needs root and lvm2")
    (tmp_path / "lvm.conf").write_text('devices { use_devicesfile = 0 filter = [ "r|.*|" ] }\n')
    return {**os.environ, "LVM_SYSTEM_DIR": str(tmp_path), "LC_ALL": "C", "LVM_SUPPRESS_FD_WARNINGS": "1"}


def story(pool: FakePool) -> list[str]:
    """Every kind of command that the driver has, once at least."""
    storage = pool.storage
    storage.create_pool(pool.spec)
    pool.jail()
    storage.snapshot_volumes("web", ["log", "home"], TX)
    storage.set_snapshot_aside("web", ["log", "home"], TX)
    storage.begin_template("debian", NEXT, HEAD)
    storage.finish_template("debian", NEXT)
    storage.retire_release(RELEASE, TRASH)
    storage.restore_release(RELEASE, TRASH)
    storage.unmount_pool(pool.spec)
    storage.mount_pool(pool.spec)
    storage.destroy_volume("web", "log")
    storage.fingerprint(RELEASE)
    storage.destroy_release(RELEASE)
    return [command for command in pool.host.commands if command.split()[0] in LVM]


def test_the_real_lvm_accepts_each_command_line_of_the_driver(no_devices: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    commands = sorted(set(story(make_pool(tmp_path / "fake"))))
    assert {command.split()[0] for command in commands} == set(LVM)
    for command in commands:
        tool, *given = (NO_SUCH if word == "vg" else word.replace("vg/", f"{NO_SUCH}/") for word in command.split())
        words = [tool, *WITHOUT_DEVICE_MAPPER, *given]
        ran = subprocess.run(words, env=no_devices, check=False, capture_output=True, text=True)
        assert ran.returncode == FAILED, f"{shlex.join(words)}: {ran.returncode} {ran.stderr}"
        assert f'Volume group "{NO_SUCH}" not found' in ran.stderr, ran.stderr


def test_a_command_line_that_it_does_not_accept_would_be_noticed(no_devices: dict[str, str]) -> None:
    words = ["lvcreate", *WITHOUT_DEVICE_MAPPER, "--yes", "-s", "--no-such-option", "-n", "x", f"{NO_SUCH}/y"]
    assert subprocess.run(words, env=no_devices, check=False, capture_output=True).returncode == NOT_ACCEPTED


def test_a_group_that_is_not_there_is_told_in_the_words_of_the_real_lvs(no_devices: dict[str, str]) -> None:
    spec = PoolSpec(driver="lvm", path="/nonexistent", thin_pool=f"{NO_SUCH}/pool")
    with pytest.raises(DriverError, match=f'{NO_SUCH}/pool: Volume group "{NO_SUCH}" not found') as caught:
        LvmStorage(LocalHost(), spec, NewVolumes()).pool_presence(spec)
    assert caught.value.remedy

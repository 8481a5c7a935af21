"""The guest that the tests share: booted once, and then put back to where it was in half a second for each of them."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.vm.code import code_drive, install_code
from tests.vm.disk import guest
from tests.vm.machine import Drive, Machine

#: `make test` leaves this tier out: it takes minutes, and the first time half an hour.
collect_ignore_glob = [] if os.environ.get("ROOTSWAP_VM") else ["test_*.py"]
READY = "ready"


@pytest.fixture(scope="session")
def _root_and_tools() -> None:
    if os.geteuid() != 0:
        pytest.skip("cannot run the virtual machine tier: not root; mmdebstrap and chroot need it")
    missing = [tool for tool in ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"cannot run the virtual machine tier: no {', '.join(missing)}; start it with `make test-vm`")


@pytest.fixture(scope="session")
def _saved(_root_and_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that was booted and has rootswap in it, saved as READY; the power is off."""
    directory = tmp_path_factory.mktemp("vm")
    made = guest()
    for argv in (
        ["-b", str(made.disk), "-F", "raw", str(directory / "root.qcow2")],
        [str(directory / "pool.qcow2"), "8G"],
    ):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *argv], check=True)
    drives = [Drive(name, str(directory / f"{name}.qcow2"), "qcow2") for name in ("root", "pool")]
    with Machine(directory, made, [*drives, code_drive(directory)]) as machine:
        machine.boot()
        install_code(machine)
        machine.save(READY)
        machine.cut()
        yield machine


@pytest.fixture
def machine(_saved: Machine) -> Iterator[Machine]:
    """A freshly booted guest with rootswap, an empty disk called pool, and nothing else."""
    _saved.resume(READY)
    yield _saved
    _saved.cut()

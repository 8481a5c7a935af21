"""The contract of Storage on real ZFS and real LVM: the same tests as everywhere, run in the guest."""

import pytest

from tests.vm.machine import Machine
from tests.vm.site import BACKENDS
from tests.vm.system import PRIVATE


@pytest.mark.parametrize("driver", sorted(BACKENDS.keys() - {"btrfs"}))
def test_the_storage_keeps_its_contract(machine: Machine, driver: str) -> None:
    run_inside(machine, driver, "tests/vm/inside/real_storage.py")


def run_inside(machine: Machine, driver: str, file: str) -> None:
    """The tests of a file, in the guest, on a disk that was prepared for a storage."""
    for line in BACKENDS[driver].prepare:
        machine.run("sh", "-ec", line)
    argv = [f"/{PRIVATE}/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", file]
    done = machine.run(*argv, cwd=f"/{PRIVATE}/src", environment={"VM_STORAGE": driver}, timeout_s=3600, check=False)
    assert done.status == 0, done.stdout + done.stderr
    assert " passed" in done.stdout

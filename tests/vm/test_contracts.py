"""The contract of Storage on real ZFS and real LVM: the same tests as everywhere, run in the guest."""

import pytest

from tests.vm.machine import Machine
from tests.vm.site import BACKENDS
from tests.vm.system import PRIVATE


@pytest.mark.parametrize("driver", sorted(BACKENDS.keys() - {"btrfs"}))
def test_the_storage_keeps_its_contract(machine: Machine, driver: str) -> None:
    for line in BACKENDS[driver].prepare:
        machine.run("sh", "-ec", line)
    files = ["tests/vm/inside/real_storage.py", f"tests/vm/inside/real_{driver}.py"]
    argv = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *files]
    environment = {"VM_STORAGE": driver}
    done = machine.run(
        f"/{PRIVATE}/bin/python", *argv, cwd=f"/{PRIVATE}/src", environment=environment, timeout_s=3600, check=False
    )
    assert done.status == 0, done.stdout + done.stderr
    assert " passed" in done.stdout

"""The states of one guest that the tests begin from, as snapshots of its memory and its disks."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vm.code import code_drive, install_code
from tests.vm.cuts import DISKS
from tests.vm.disk import guest
from tests.vm.machine import Drive, Machine
from tests.vm.site import BACKENDS, Site

#: Booted, with rootswap and an empty disk.
READY = "ready"


class Saved:
    """READY, and for each storage a jail on the first of two releases with the unit that recovers at boot.

    The latter are made when they are first wanted.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._settled: set[str] = set()

    def resume(self, driver: str) -> Site:
        """Switch the machine on with a settled jail."""
        site = Site(self.machine, BACKENDS[driver])
        if driver in self._settled:
            self.machine.resume(driver)
        else:
            self.machine.resume(READY)
            site.settle()
            site.install_boot_unit()
            self.machine.run("sync")
            self.machine.save(driver)
            self._settled.add(driver)
        return site


@contextmanager
def saved(directory: Path) -> Iterator[Saved]:
    """A guest with its disks in ``directory``, saved as READY; the power is off."""
    made = guest()
    for argv in (
        ["-b", str(made.disk), "-F", "raw", str(directory / "root.qcow2")],
        [str(directory / "pool.qcow2"), "8G"],
    ):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *argv], check=True)
    drives = [Drive(name, str(directory / f"{name}.qcow2"), "qcow2") for name in DISKS]
    with Machine(directory, made, [*drives, code_drive(directory)]) as machine:
        machine.boot()
        install_code(machine)
        machine.save(READY)
        machine.cut()
        yield Saved(machine)

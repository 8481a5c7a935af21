"""Power cuts: a guest in the middle of an upgrade or a rollback loses its power, boots again, and is looked over.

Two things are lost with the power: whatever the guest had in its memory, for QEMU is killed, and whatever its disks had
in their write caches, for the server behind them forgets any part of what was not flushed.
"""

import json
import random
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.code import code_drive, install_code
from tests.vm.disk import guest
from tests.vm.machine import Drive, GuestFailed, Machine
from tests.vm.site import Backend, Look, Site
from tests.vm.system import PRIVATE
from tests.vm.volatile import VolatileDisk

DISKS = ("root", "pool")
_POOL_BYTES = 8 << 30
#: Of the boots after a cut, so many are cut as well.
_SECOND_CUTS = 0.2


#: What the guest said of a record once it was acknowledged.
Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut and what came of it. The times are the guest's, whose clock counts emulated work.

    ``end`` is ``unknown`` when the guest could not be looked at; then ``recovery_s`` is 0.
    """

    number: int
    verb: str
    after: str
    lost: int
    unflushed: int
    boots: int
    recovery_s: float
    end: str
    faults: tuple[str, ...]

    def line(self) -> str:
        """For people who watch."""
        told = f"cut {self.number:3d}: {self.verb} after {self.after}, {self.lost} of {self.unflushed} blocks lost"
        faults = "".join(f"\n    {fault}" for fault in self.faults)
        return f"{told}, {self.boots} boot(s), recovery {self.recovery_s:.1f} s, {self.end}{faults}"


class Rig:
    """A settled guest on disks that forget; a context manager."""

    def __init__(self, directory: Path, backend: Backend, settled: Path, chance: random.Random, build: str) -> None:
        self._chance = chance
        self._build = build
        self._stack = ExitStack()
        self._disks: list[VolatileDisk] = []
        for name in DISKS:
            copy(settled / f"{name}.img", directory / f"{name}.img")
            through = name == "pool" and backend.write_through
            disk = VolatileDisk(directory / f"{name}.img", directory / f"{name}.nbd", write_through=through)
            self._stack.callback(disk.close)
            self._disks.append(disk)
        drives = [Drive(name, disk.url) for name, disk in zip(DISKS, self._disks, strict=True)]
        self.machine = Machine(directory, guest(), [*drives, code_drive(directory)])
        self.site = Site(self.machine, backend)

    def __enter__(self) -> "Rig":
        with ExitStack() as undo:
            undo.push(self._stack)
            self._stack.enter_context(self.machine)
            self._boot_s = self.machine.boot()
            install_code(self.machine)
            self._meet(0)
            self._kept, self._places = self.seen.kept, self.seen.places
            self._pages = {self.seen.release: self.seen.page}
            self._duration_s = self._go([], float("inf"))
            self._meet(self.seen.last)
            self._pages[self.seen.release] = self.seen.page
            undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def cut(self, number: int) -> Cut:
        """Begin a transaction, cut the power somewhere in it or shortly after, boot, and look."""
        before = self.seen
        verb = "rollback" if before.settled and before.settled["history"] else "upgrade"
        told: list[Told] = []
        lost = unflushed = boots = 0
        try:
            self._go(told, self._chance.uniform(0, 1.15 * self._duration_s))
            lost, unflushed = self._lose_power()
            boots = 1
            while self._chance.random() < _SECOND_CUTS:
                self._boot_and_cut()
                boots += 1
            self._boot_s = self.machine.boot()
            recovery_s = self._recovery_s()
            self._meet(before.last)
            end, _ = self.seen.transactions.get(told[0]["transaction"], ("lost", ""))
            faults = tuple(self._faults(told, before))
        except GuestFailed as error:
            recovery_s, end, faults = 0.0, "unknown", (str(error),)
        after = f"{told[-1]['type']} {told[-1]['step'] or ''}".strip() if told else "nothing"
        return Cut(number, verb, after, lost, unflushed, boots, recovery_s, end, faults)

    def _meet(self, after: int) -> None:
        """Look at the guest, by the program that will then do the next transaction."""
        argv = [f"/{PRIVATE}/bin/python", "-m", "tests.vm.inside.acknowledged", self._build, str(after)]
        self._program = self.machine.start("env", "-C", f"/{PRIVATE}/src", *argv)
        line = self._program.line()
        if line is None:
            raise GuestFailed("the program that looks at the guest has ended without a word")
        self.seen = Look(**json.loads(line))

    def _go(self, told: list[Told], cut_after_s: float) -> float:
        """Let the program do a transaction until so long after its first record; ``told`` gets what it acknowledges.

        How long after the first record the program had ended. A transaction that is rolled back for its health check
        has failed, and so does the program; in a guest that gets too little of the processor this may be.
        """
        began, moment = 0.0, float("inf")
        self._program.say("go\n")
        try:
            while (line := self._program.line(moment=moment)) is not None:
                if not told:
                    began = time.monotonic()
                    moment = began + cut_after_s
                if line.startswith("{"):
                    told.append(json.loads(line))
        except GuestFailed:
            if not told or told[-1]["type"] != "transaction.rolled-back":
                raise
        return time.monotonic() - began

    def _lose_power(self) -> tuple[int, int]:
        self.machine.cut()
        counts = [disk.lose_power(self._chance) for disk in self._disks]
        return sum(lost for lost, _ in counts), sum(total for _, total in counts)

    def _boot_and_cut(self) -> None:
        """Cut the power in the middle of a boot, most likely while recovery is at work."""
        self.machine.switch_on()
        time.sleep(self._chance.uniform(0.5, 1.2) * self._boot_s)
        self._lose_power()

    def _recovery_s(self) -> float:
        shown = self.machine.run(
            "systemctl", "show", "rootswap-recover.service", "-p", "ExecMainStartTimestampMonotonic",
            "-p", "ExecMainExitTimestampMonotonic",
        )  # fmt: skip
        values = dict(line.split("=", 1) for line in shown.stdout.splitlines())
        began, ended = (int(values[f"ExecMain{end}TimestampMonotonic"]) for end in ("Start", "Exit"))
        return (ended - began) / 1e6

    def _faults(self, told: list[Told], before: Look) -> list[str]:
        """Everything that must not be after a power cut and the boot that follows it."""
        seen = self.seen
        lost = [one for one in told if seen.digests.get(str(one["seq"])) != one["digest"]]
        found = [f"acknowledged, but gone or changed: record {one['seq']}, {one['type']}" for one in lost]
        found += seen.faults()
        if seen.last < before.last:
            found.append(f"the ledger ends at {seen.last}, it had {before.last} records")
        if seen.kept != self._kept:
            found.append(f"the pool has more or less than before: {sorted(set(seen.kept) ^ set(self._kept))}")
        if seen.places != self._places:
            found.append(f"more or less is mounted than before: {sorted(set(seen.places) ^ set(self._places))}")
        if seen.page != self._pages.get(seen.release):
            found.append(f"web serves {seen.page!r}, the ledger says {seen.release}")
        if gone := [one for one in before.snapshots if one not in seen.snapshots]:
            found.append(f"snapshots are gone or changed: {gone}")
        return found


def settle(directory: Path, backend: Backend) -> None:
    """Disks of a guest with a jail on the first of two releases, and the unit that recovers at boot."""
    directory.mkdir(exist_ok=True)
    made = guest()
    copy(made.disk, directory / "root.img")
    with (directory / "pool.img").open("wb") as file:
        file.truncate(_POOL_BYTES)
    drives = [Drive(name, str(directory / f"{name}.img")) for name in DISKS]
    with Machine(directory, made, [*drives, code_drive(directory)]) as machine:
        machine.boot()
        install_code(machine)
        site = Site(machine, backend)
        site.settle()
        site.install_boot_unit()
        machine.run("sync")


def copy(source: Path, target: Path) -> None:
    """A sparse copy of a disk."""
    subprocess.run(["cp", "--reflink=auto", "--sparse=always", str(source), str(target)], check=True)

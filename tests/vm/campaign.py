"""``make power-cuts``: as many power cuts as one likes, on each storage in turn, each of them noted in a file.

A guest lives for a number of cuts and then makes room for a fresh one, so that what it has gathered does not slow it
down. Its disks stay where they are once something was wrong.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.vm.cache import discard
from tests.vm.cuts import Cut, Rig, settle
from tests.vm.report import Noted, summary
from tests.vm.site import BACKENDS

#: So many cuts, and then a fresh guest.
_LIFE = 30
_BUILDS = ("sound", "unsynced", "late")


class Guests:
    """One settled guest for each storage, made when it is first wanted; a context manager."""

    def __init__(self, top: Path, seed: str, build: str) -> None:
        self._top = top
        self._seed = seed
        self._build = build
        self._lives: dict[str, int] = {}
        self._rigs: dict[str, tuple[Rig, ExitStack, int]] = {}

    def __enter__(self) -> "Guests":
        return self

    def __exit__(self, *exception: object) -> None:
        for _, stack, _ in self._rigs.values():
            stack.close()

    def cut(self, driver: str, number: int) -> Cut:
        """Cut the power of the guest with this storage."""
        rig, stack, left = self._rigs.pop(driver) if driver in self._rigs else self._fresh(driver)
        try:
            cut = rig.cut(number)
        except BaseException:
            stack.close()
            raise
        if cut.faults:
            print(f"the disks are kept in {rig.machine.directory}", flush=True)
            stack.close()
        elif left == 1:
            stack.close()
            discard(rig.machine.directory)
        else:
            self._rigs[driver] = rig, stack, left - 1
        return cut

    def _fresh(self, driver: str) -> tuple[Rig, ExitStack, int]:
        settled = self._top / f"settled-{driver}"
        if not settled.exists():
            settle(settled, BACKENDS[driver])
        life = self._lives[driver] = self._lives.get(driver, 0) + 1
        directory = self._top / f"{driver}-{life}"
        directory.mkdir()
        chance = random.Random(f"{self._seed} {self._build} {driver} {life}")
        stack = ExitStack()
        rig = stack.enter_context(Rig(directory, BACKENDS[driver], settled, chance, self._build))
        return rig, stack, _LIFE


def campaign(top: Path, count: int, seed: str, build: str, drivers: Sequence[str], log: Path) -> list[Noted]:
    """So many cuts on each storage in turn; a broken build has to be caught once only."""
    done: list[Noted] = []
    with Guests(top, seed, build) as guests:
        for number in range(1, count + 1):
            driver = drivers[(number - 1) % len(drivers)]
            cut = guests.cut(driver, number)
            print(f"{driver} {cut.line()}", flush=True)
            done.append(Noted(driver, build, seed, cut))
            with log.open("a") as file:
                file.write(json.dumps({"driver": driver, "build": build, "seed": seed, **asdict(cut)}) + "\n")
            if build != "sound" and cut.faults:
                break
    return done


def main() -> int:
    """1 if anything was wrong; of a broken build, if nothing was."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.campaign")
    parser.add_argument("count", type=int)
    parser.add_argument("seed")
    parser.add_argument("drivers", nargs="*", default=list(BACKENDS), help="btrfs, zfs, lvm; all of them by default")
    parser.add_argument("--build", choices=_BUILDS, default="sound")
    parser.add_argument("--log", type=Path, default=Path("/var/tmp/rootswap-power-cuts.jsonl"))
    asked = parser.parse_args()
    print(
        f"{asked.count} power cuts, seed {asked.seed}, on {', '.join(asked.drivers)}, noted in {asked.log}", flush=True
    )
    top = Path(tempfile.mkdtemp(prefix="rootswap-cuts-", dir="/var/tmp"))
    done = campaign(top, asked.count, asked.seed, asked.build, asked.drivers, asked.log)
    print(summary(done))
    is_wrong = any(noted.cut.faults for noted in done)
    if not is_wrong:
        discard(top)
    return int(is_wrong if asked.build == "sound" else not is_wrong)


if __name__ == "__main__":
    sys.exit(main())

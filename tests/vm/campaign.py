"""``make power-cuts``: as many power cuts as one likes, on each storage in turn, each of them noted in a file.

A guest lives for a few cuts and then makes room for a fresh one, so that what it has gathered does not slow it down.
There are as many at work as there are processors. Its disks stay where they are once something was wrong.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.vm.cache import discard, made_once
from tests.vm.cuts import Rig, settle
from tests.vm.disk import guest
from tests.vm.report import Noted, summary
from tests.vm.site import BACKENDS

#: So many cuts, and then a fresh guest.
_LIFE = 10
_BUILDS = ("sound", "unsynced", "late")


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is cut, and where that is noted; ``top`` has the disks."""

    top: Path
    seed: str
    build: str
    log: Path


@dataclass(frozen=True, slots=True)
class Share:
    """The cuts of one guest, by their numbers."""

    driver: str
    numbers: tuple[int, ...]


def shares(count: int, drivers: Sequence[str]) -> list[Share]:
    """So many cuts, numbered on each storage in turn; the guests that come first have the first of them."""
    by_driver = [(driver, range(at + 1, count + 1, len(drivers))) for at, driver in enumerate(drivers)]
    lives = range(0, count, _LIFE)
    split = [Share(driver, tuple(numbers[at : at + _LIFE])) for at in lives for driver, numbers in by_driver]
    return [share for share in split if share.numbers]


def cut_share(campaign: Campaign, share: Share) -> list[Noted]:
    """The cuts of one guest; after one that went wrong the rest is done on another."""
    done: list[Noted] = []
    left = list(share.numbers)
    while left and not (campaign.build != "sound" and any(noted.cut.faults for noted in done)):
        done += _live(campaign, share.driver, left)
    return done


def _live(campaign: Campaign, driver: str, left: list[int]) -> Iterable[Noted]:
    """Take cuts off ``left`` until one went wrong, on a fresh guest."""
    settled = campaign.top / f"settled-{driver}"
    made_once(settled, lambda draft: settle(draft, BACKENDS[driver]))
    directory = campaign.top / f"{driver}-{left[0]}"
    directory.mkdir()
    chance = random.Random(f"{campaign.seed} {campaign.build} {directory.name}")
    with Rig(directory, BACKENDS[driver], settled, chance, campaign.build) as rig:
        while left:
            cut = rig.cut(left.pop(0))
            print(f"{driver} {cut.line()}", flush=True)
            noted = {"driver": driver, "build": campaign.build, "seed": campaign.seed, **asdict(cut)}
            with campaign.log.open("a") as file:
                file.write(json.dumps(noted) + "\n")
            yield Noted(driver, campaign.build, campaign.seed, cut)
            if cut.faults:
                print(f"the disks are kept in {directory}", flush=True)
                return
    discard(directory)


def run(campaign: Campaign, planned: Sequence[Share], workers: int) -> list[Noted]:
    """All shares, several at a time; those of a broken build one after the other, for it is to be caught once."""
    cut = partial(cut_share, campaign)
    done: list[Noted] = []
    if campaign.build == "sound":
        with ProcessPoolExecutor(workers) as pool:
            return [noted for share in pool.map(cut, planned) for noted in share]
    for share in planned:
        done += cut(share)
        if any(noted.cut.faults for noted in done):
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
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="guests at a time; one for each processor")
    asked = parser.parse_args()
    print(
        f"{asked.count} power cuts, seed {asked.seed}, on {', '.join(asked.drivers)}, noted in {asked.log}", flush=True
    )
    guest()
    top = Path(tempfile.mkdtemp(prefix="rootswap-cuts-", dir="/var/tmp"))
    campaign = Campaign(top, asked.seed, asked.build, asked.log)
    done = run(campaign, shares(asked.count, asked.drivers), asked.workers)
    print(summary(done))
    is_wrong = any(noted.cut.faults for noted in done)
    if not is_wrong:
        discard(top)
    # A guest that does not answer is wrong, but it catches nothing.
    is_caught = any(noted.cut.faults and noted.cut.end != "unknown" for noted in done)
    return int(is_wrong if asked.build == "sound" else not is_caught)


if __name__ == "__main__":
    sys.exit(main())

"""The downtime of ``rootswap upgrade`` against the loop that a good administrator would write by hand.

Both switch the very same jail between the same two releases, in turn, in one run, on each storage and under each
runtime: the hand-written loop stops it, unmounts its root, mounts the other release, starts it and asks until it
answers. A client in a process of its own asks all the time; the downtime is the longest gap between two of its good
answers around a switch. In that time rootswap also snapshots the data volumes and writes every step to the ledger.
"""

import http.client
import itertools
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from commands.bootstrap import make_drivers
from commands.drivers.host import LocalHost
from commands.transactions.interrupt import Interrupt
from ledger.clock import SystemClock
from tests.benchmarks.by_hand import settled_of, swap_by_hand
from tests.benchmarks.table import Figure
from tests.contracts.jail_fixtures import RUNTIMES
from tests.real.site import RealSite

#: The console script of the environment that runs this.
ROOTSWAP = str(Path(sys.executable).parent / "rootswap")
#: Those that run without a kernel module or a volume group of their own.
STORAGES = ("btrfs", "directory")
SWITCHES = int(os.environ.get("SWITCHES", "60"))


def ask_for_ever(port: int, longest_ns: "Synchronized[int]", answers: "Synchronized[int]") -> None:
    """The client: a new connection each millisecond; keeps the longest gap between two good answers."""
    last = time.monotonic_ns()
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                now = time.monotonic_ns()
                longest_ns.value = max(longest_ns.value, now - last)
                answers.value += 1
                last = now
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.001)


class Client:
    """Measures the longest gap since it was last reset."""

    def __init__(self, port: int) -> None:
        self._longest = multiprocessing.Value("q", 0)
        self._answers = multiprocessing.Value("q", 0)
        self._process = multiprocessing.Process(
            target=ask_for_ever, args=(port, self._longest, self._answers), daemon=True
        )
        self._process.start()

    def reset(self) -> None:
        self.wait_for_answers(20)
        self._longest.value = 0

    def gap_ms(self) -> float:
        self.wait_for_answers(20)
        return float(self._longest.value) / 1e6

    def wait_for_answers(self, count: int) -> None:
        wanted = self._answers.value + count
        while self._answers.value < wanted:
            time.sleep(0.001)

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


def swap_by_rootswap(config: Path, release: str) -> None:
    subprocess.run(
        [ROOTSWAP, "--config", str(config), "upgrade", "web", "--to", release],
        check=True,
        capture_output=True,
    )


@contextmanager
def bench_site(driver: str = "lxc", storage: str = "btrfs") -> Iterator[tuple[RealSite, Path]]:
    """A real site with its configuration in a file, for the command line."""
    home = Path(tempfile.mkdtemp(prefix="rootswap-bench-", dir="/var/tmp"))
    site = RealSite(home, driver=driver, storage=storage)
    try:
        site.settle()
        yield site, site.write_config()
    finally:
        site.close()


def measure_downtime() -> list[Figure]:
    """Median and worst of the switches, interleaved, on each storage and under each runtime that are here."""
    figures = []
    runtimes = [driver for driver, (_, program) in RUNTIMES.items() if shutil.which(program) is not None]
    for storage, driver in itertools.product(STORAGES, runtimes):
        ours, by_hand = _switches(driver, storage)
        what = f"of {len(ours)} switches, {storage} and {driver}"
        medians = statistics.median(ours), statistics.median(by_hand)
        figures.append(Figure(f"median {what}", *medians, "ms", 1.10))
        figures.append(Figure(f"worst {what}", max(ours), max(by_hand), "ms", 2.0))
    return figures


def _switches(driver: str, storage: str) -> tuple[list[float], list[float]]:
    """The gaps of as many switches by rootswap and by hand, two of each in turn."""
    with bench_site(driver, storage) as (site, config):
        drivers = make_drivers(site.config, LocalHost(), SystemClock(), Interrupt())
        releases = drivers.storage.releases()
        sources = {release: drivers.storage.root_source(release).what for release in releases}
        client = Client(site.ports["web"])
        ours: list[float] = []
        by_hand: list[float] = []
        try:
            while len(by_hand) < SWITCHES:
                other = next(name for name in releases if name != settled_of(site).deployment.release)
                here = settled_of(site).deployment.release
                for release in (other, here):
                    client.reset()
                    swap_by_rootswap(config, release)
                    ours.append(client.gap_ms())
                for release in (other, here):
                    client.reset()
                    swap_by_hand(site, sources[release])
                    by_hand.append(client.gap_ms())
        finally:
            client.stop()
    return ours, by_hand

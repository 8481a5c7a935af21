"""What snapshots cost in plain directories, against the `cp -a` and `sync` that one would type.

Both copy the very same tree, in turn, in one run. The data of a jail is a few large files, a root is many small ones.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from commands.drivers.base import Volume
from tests.benchmarks.table import Figure
from tests.contracts.real import DirectoryPool, directory_pool, sh, xfs

ROUNDS = int(os.environ.get("ROUNDS", "3"))
DATA_BYTES = 512 << 20
FILES, FILE_BYTES = 3000, 20 << 10
HEAD = "aaaaaaaa"


def measure_copies() -> list[Figure]:
    """The copies of a release and of a data snapshot, on the disk of /var/tmp and on an XFS that shares blocks."""
    found: list[Figure] = []
    for name, on_xfs in (("/var/tmp", False), ("XFS", True)):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            place = Path(directory, "pool")
            with xfs(place, 6 << 30) if on_xfs else nullcontext():
                place.mkdir(exist_ok=True)
                with directory_pool(place) as pool:
                    found += _figures(pool, name)
    return found


def _figures(pool: DirectoryPool, name: str) -> Iterator[Figure]:
    furnish(pool)
    takes: dict[str, Callable[[str], None]] = {
        "data snapshot, 512 MiB": lambda tx: pool.storage.snapshot_volumes("web", ["log"], tx),
        "release, 3000 files": lambda tx: pool.storage.take_release(f"debian@{tx}", HEAD),
    }
    origins = {
        "data snapshot, 512 MiB": pool.storage.volume_path("web", "log"),
        "release, 3000 files": pool.storage.template_path("debian", HEAD),
    }
    for what, take in takes.items():
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(ROUNDS):
            tx = f"{number:08d}"
            sides: list[tuple[list[float], Callable[[], None]]] = [
                (ours, partial(take, tx)),
                (theirs, partial(by_hand, origins[what], pool)),
            ]
            for kept, act in sides if number % 2 else reversed(sides):
                with timed(kept):
                    act()
            sh("rm", "-r", f"{pool.spec.path}/copy")
            pool.storage.destroy_release(f"debian@{tx}")
            if pool.storage.snapshots("web"):
                pool.storage.set_snapshot_aside("web", ["log"], tx)
                sh("rm", "-r", f"{pool.spec.path}/rootswap/snapshots/web/{tx}+unwound")
        ours_ms, theirs_ms = (statistics.median(kept) * 1000 for kept in (ours, theirs))
        # Where blocks are shared, the floor is a few milliseconds, and the marks count.
        limit = 4.0 if name == "XFS" and "data" in what else 1.25
        yield Figure(f"{what}, {name}", ours_ms, theirs_ms, "ms", limit)


def by_hand(origin: str, pool: DirectoryPool) -> None:
    """What an administrator would type, and wait for."""
    sh("cp", "-a", origin, f"{pool.spec.path}/copy")
    sh("sync", "-f", pool.spec.path)


def furnish(pool: DirectoryPool) -> None:
    """A root of many small files, and a volume with a few large ones."""
    pool.storage.begin_template("debian", HEAD, None)
    root = Path(pool.storage.template_path("debian", HEAD))
    (root / "var/log").mkdir(parents=True)
    for number in range(FILES):
        (root / f"{number % 80}").mkdir(exist_ok=True)
        (root / f"{number % 80}/{number}").write_bytes(os.urandom(FILE_BYTES))
    pool.storage.finish_template("debian", HEAD)
    pool.storage.take_release("debian@ffffffff", HEAD)
    pool.storage.create_volume("web", Volume(name="log", path="/var/log"), "debian@ffffffff")
    for number in range(4):
        Path(pool.storage.volume_path("web", "log"), f"data-{number}").write_bytes(os.urandom(DATA_BYTES // 4))
    sh("sync", "-f", pool.spec.path)


@contextmanager
def timed(kept: list[float]) -> Iterator[None]:
    """Append how many seconds the body takes."""
    begun = time.monotonic()
    yield
    kept.append(time.monotonic() - begun)

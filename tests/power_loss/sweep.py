"""All images of a trace, judged on all processors."""

import hashlib
import multiprocessing
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from random import Random

from tests.power_loss.disk import Disk, Image, digest
from tests.power_loss.ledgers import Fault, Verdict
from tests.power_loss.trace import Mark, Op, in_words

#: Where a program says that what it has done so far was long ago: before this mark there is nothing to judge.
LONG_AGO = "long ago"
#: The seed, unless the environment has another.
SEED = os.environ.get("POWER_LOSS_SEED", "20100926")

#: What is demanded at a point of the trace; images with the same digest and demand are judged once.
Key = Callable[[int], Hashable]
#: Judges the files in a directory as those of a point; the number is as good as random, and the same at each run.
Judge = Callable[[int, Path, int], Verdict | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """A faulty image and how to build it again."""

    verdict: Verdict
    trace: str
    point: int
    after: str
    image: str
    seed: str

    def __str__(self) -> str:
        return (
            f"{self.verdict.fault}: {self.verdict.cause}\n  trace {self.trace!r}, power lost after operation "
            f"{self.point} ({self.after}), image {self.image!r}, POWER_LOSS_SEED={self.seed}"
        )


@dataclass
class Report:
    """What came of a sweep: how many different images there were, and what was wrong with some."""

    images: int = 0
    points: int = 0
    seconds: float = 0.0
    faults: Counter[Fault] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Take in the report of another part."""
        self.images += other.images
        self.points += other.points
        self.faults += other.faults
        self.findings = (self.findings + other.findings)[:5]

    def require_sound(self) -> None:
        """Raise with the first findings, unless there are none."""
        assert not self.faults, "\n".join([str(dict(self.faults)), *map(str, self.findings)])


#: Remembers a report for the summary of a test run: under what heading, and of which trace.
Tally = Callable[[str, str, Report], None]


def sweep(
    name: str, ops: Sequence[Op], key: Key, judge: Judge, *, rounds: int, first: int = 0, seed: str = SEED
) -> Report:
    """Build and judge all images of a trace, from the point ``first`` on."""
    began = time.monotonic()
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    context = multiprocessing.get_context("fork")
    queue: Queue[Report | str] = context.Queue()

    def part(share: int) -> None:
        try:
            queue.put(_sweep_share(name, ops, key, judge, rounds, first, seed, share, count))
        except BaseException as error:
            queue.put(f"{type(error).__name__}: {error}")
            raise

    workers = [context.Process(target=part, args=(share,)) for share in range(count)]
    for worker in workers:
        worker.start()
    report = Report(points=len(ops))
    for _ in workers:
        found = _result(queue, workers)
        assert isinstance(found, Report), found
        report.add(found)
    for worker in workers:
        worker.join()
    report.seconds = time.monotonic() - began
    return report


def _result(queue: "Queue[Report | str]", workers: Sequence[BaseProcess]) -> Report | str:
    while True:
        try:
            return queue.get(timeout=1)
        except Empty:
            died = [worker.exitcode for worker in workers if worker.exitcode]
            assert not died, f"a worker was killed: {died}"  # by SIGBUS, say: it could not tell


def _sweep_share(
    name: str, ops: Sequence[Op], key: Key, judge: Judge, rounds: int, first: int, seed: str, share: int, shares: int
) -> Report:
    """The images whose digest falls to this share."""
    report = Report()
    disk = Disk()
    seen: set[bytes] = set()
    begins = max((point for point, op in enumerate(ops) if isinstance(op, Mark) and op.kind == LONG_AGO), default=-1)
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as scratch:
        for point, op in enumerate(ops):
            disk.take(op)
            if point <= begins:
                disk.settle()
            if point < max(begins + 1, first):
                continue
            demanded = repr(key(point)).encode()
            for word, image in disk.images(Random(f"{seed}/{name}/{point}"), rounds):
                identity = hashlib.sha256(digest(image) + demanded).digest()
                number = int.from_bytes(identity[:8], "big")
                if identity in seen or number % shares != share:
                    continue
                seen.add(identity)
                directory = Path(scratch) / "image"
                lay_out(image, directory)
                verdict = judge(point, directory, number // shares)
                report.images += 1
                if verdict is not None:
                    report.faults[verdict.fault] += 1
                    if len(report.findings) < 5:
                        report.findings.append(Finding(verdict, name, point, in_words(op), word, seed))
    return report


def lay_out(image: Image, directory: Path) -> None:
    """Put the files of ``image`` into an empty ``directory``."""
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir()
    for path, content in sorted(image.items()):
        if content is None:
            (directory / path).mkdir()
        else:
            (directory / path).write_bytes(content)

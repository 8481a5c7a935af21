"""``python -m tests.benchmarks.ledgers [RECORDS]``: the ledger against what one would write by hand for the same bytes.

Both sides take turns in one run. The large ledger is what the engine would have written (``tests.ledger.bulk``).
"""

import hashlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

from ledger import schema
from ledger.checkpoint import Seal
from ledger.clock import SystemClock
from ledger.codec import Record, encode
from ledger.proof import Proof
from ledger.reader import LedgerReader
from ledger.writer import LedgerWriter
from projections.projector import Projector, projections_path
from tests.benchmarks.questions import measure_questions
from tests.benchmarks.table import Figure, print_table
from tests.ledger.bulk import grow, played_upgrade
from tests.ledger.fakes import ORIGIN
from tests.proof.site import Site

RECORDS = 1_000_000
SMALL = 1_000
#: What `rootswap recover` does until it knows what is open.
DECIDE = """
import sys
from pathlib import Path
from ledger.clock import SystemClock
from ledger.writer import LedgerWriter
from tests.ledger.fakes import ORIGIN
with LedgerWriter.open(Path(sys.argv[1]), ORIGIN, SystemClock()) as writer:
    assert writer.open_transactions()
"""

Work = Callable[[], object]


def take_turns(rounds: int, *works: Work) -> list[float]:
    """The median time of each, in ms; one round is each of them once, and one round more goes before that."""
    times: list[list[float]] = [[] for _ in works]
    for turn in range(rounds + 1):
        for work, kept in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            if turn or rounds == 1:
                kept.append((time.perf_counter() - began) * 1e3)
    return [statistics.median(kept) for kept in times]


# --- appending --------------------------------------------------------------------------------------------------------


class Appending:
    """An upgrade in the ledger, and its records in a file."""

    def __init__(self, directory: Path, writer: LedgerWriter) -> None:
        self.writer = writer
        self.events = played_upgrade()
        self._names = (f"{number:08d}" for number in count())
        self.records = [encode(record) for record in self._append(1)]
        self._raw = os.open(directory / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _append(self, together: int) -> list[Record]:
        name = next(self._names)
        found: list[Record] = []
        for place in range(0, len(self.events), together):
            found += self.writer.append(name, *self.events[place : place + together])
        return found

    def as_written(self) -> None:
        """The outcome of each step and the intent of the next in one commit."""
        self._append(2)

    def one_by_one(self) -> None:
        """One event to a commit."""
        self._append(1)

    def with_checkpoint(self) -> None:
        """And the commit of its checkpoint, after a look whether it goes on from the one before."""
        self._append(2)
        self.writer.seals.add(Seal(self.writer.seals.checkpoint(), SIGNATURE))

    def raw(self) -> None:
        """Each record written and synced."""
        for record in self.records:
            os.write(self._raw, record)
            os.fsync(self._raw)

    def raw_with_checkpoint(self) -> None:
        """And the checkpoint and its signature."""
        self.raw()
        os.write(self._raw, bytes(120) + SIGNATURE.encode())
        os.fsync(self._raw)


#: As long as one by ssh-keygen. To make one takes a process; nothing here looks at it.
SIGNATURE = "-----BEGIN SSH SIGNATURE-----\n" + 4 * ("A" * 70 + "\n") + "-----END SSH SIGNATURE-----\n"


def measure_appends(directory: Path, rounds: int) -> list[Figure]:
    """Durable appends; the floor is write and fsync of each record."""
    with LedgerWriter.create(directory / "appends", ORIGIN, SystemClock(), key="ssh-ed25519 AAAA") as writer:
        one = Appending(directory, writer)
        raw, sealed_raw, ours, sealed, single = take_turns(
            rounds, one.raw, one.raw_with_checkpoint, one.as_written, one.with_checkpoint, one.one_by_one
        )
    events, commits = len(one.events), len(one.events) // 2
    return [
        Figure(f"an upgrade: {events} events in {commits} commits", ours, raw, "ms", 1.25),
        Figure("the same and its checkpoint", sealed, sealed_raw, "ms", 1.25),
        Figure(f"the same {events} events, each a commit of its own", single, raw, "ms", 1.25),
    ]


# --- reading all ------------------------------------------------------------------------------------------------------


def stored_records(site: Site) -> sqlite3.Cursor:
    """Each record, as anybody would read it."""
    connection = sqlite3.connect(f"file:{site.ledger}/{schema.LEDGER_FILE}?mode=ro", uri=True)
    return connection.execute("SELECT record FROM events ORDER BY seq")


def hash_all(site: Site) -> None:
    """The floor of verifying: SHA-256 of each record."""
    for (record,) in stored_records(site):
        hashlib.sha256(record).digest()


def group_all(site: Site) -> None:
    """The floor of a projection: decode each record and put it with its transaction."""
    groups = defaultdict(list)
    for (record,) in stored_records(site):
        told = json.loads(record)
        groups[told["transaction"]].append(told["type"])


def rebuild(site: Site) -> None:
    """The projections from nothing, in their file; the questions are asked of them afterwards."""
    with LedgerReader.open(site.ledger) as reader:
        path = projections_path(reader)
        path.unlink(missing_ok=True)
        with closing(Projector(sqlite3.connect(path, isolation_level=None))) as projector:
            assert projector.catch_up(reader) == reader.last_seq()


def measure_reading(site: Site, rounds: int) -> list[Figure]:
    """Verifying and rebuilding the whole of a ledger."""
    with LedgerReader.open(site.ledger) as reader:
        size = f"{reader.last_seq():,} records"
    floor, ours = take_turns(rounds, lambda: hash_all(site), site.verify)
    bare, built = take_turns(rounds, lambda: group_all(site), lambda: rebuild(site))
    return [
        Figure(f"verify {size}, against SHA-256 alone", ours / 1e3, floor / 1e3, "s", 2.0),
        Figure("rebuild projections, against decode and group", built / 1e3, bare / 1e3, "s", 2.0),
    ]


# --- looking at one thing ---------------------------------------------------------------------------------------------


def measure_start(site: Site, small: Site, rounds: int) -> list[Figure]:
    """What a long history costs a recovery: from the start of the process to knowing what is open."""

    def decide(where: Site) -> Work:
        return lambda: subprocess.run([sys.executable, "-c", DECIDE, str(where.ledger)], check=True)

    def open_here(where: Site) -> None:
        with LedgerWriter.open(where.ledger, ORIGIN, SystemClock()) as writer:
            assert writer.open_transactions()

    short, long = take_turns(rounds, decide(small), decide(site))
    short_here, long_here = take_turns(rounds, lambda: open_here(small), lambda: open_here(site))
    return [
        Figure(f"process start to decision, against {SMALL:,} records", long, short, "ms", 1.2),
        Figure("of that, opening the ledger", long_here, short_here, "ms", 1.2),
    ]


def measure_proofs(site: Site, rounds: int) -> list[Figure]:
    """A proof of one record among all, made and checked in this process; the signature is for ssh-keygen to check."""
    with LedgerReader.open(site.ledger) as reader:
        sealed = reader.seals()[-1].checkpoint.size
        proof = reader.prove(sealed // 3)
        data = proof.format()
        numbers = (number * 7919 % sealed + 1 for number in count(1))
        made, checked = take_turns(
            rounds, lambda: reader.prove(next(numbers)).format(), lambda: Proof.parse(data).check_tree()
        )
    return [
        Figure("a proof made, against 50 ms", made, 50.0, "ms", 1.0),
        Figure(f"a proof of {len(proof.path)} hashes checked, against 5 ms", checked, 5.0, "ms", 1.0),
    ]


def measure(records: int, directory: Path, rounds: int) -> Iterator[tuple[str, list[Figure]]]:
    """The tables, as they are done; the whole ledger is read three times at most."""
    yield "durable appends, against write and fsync of each record", measure_appends(directory, rounds)
    site, small = grow(directory / "large", records), grow(directory / "small", SMALL)
    yield "one thing in a long ledger", [*measure_start(site, small, rounds), *measure_proofs(site, rounds)]
    yield "the whole ledger", measure_reading(site, max(1, min(3, rounds, 3_000_000 // records)))
    yield "the questions of auditors, against what we allow ourselves", measure_questions(site.base, min(5, rounds))


def main() -> None:
    """Print the tables."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    with tempfile.TemporaryDirectory(prefix="rootswap-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        print(f"a ledger of {records:,} records, below {name}", flush=True)
        for title, figures in measure(records, Path(name), rounds=25):
            print_table(title, figures)
            sys.stdout.flush()


if __name__ == "__main__":
    main()

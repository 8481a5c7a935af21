"""How many fsync'ed commits an upgrade costs, counted with strace, against N+1 for N steps."""

import re
import subprocess
from pathlib import Path

from commands.transactions.plan import plan_from_json
from ledger.reader import LedgerReader
from tests.benchmarks.downtime import ROOTSWAP, bench_site
from tests.benchmarks.table import Figure


def synced_commits(config: Path, trace: Path, *arguments: str) -> int:
    """Run the command line under strace; how many commits were made durable, each with an fsync of its own.

    A commit writes frames behind the head of the ledger's write-ahead log and syncs it. A sync without new frames
    belongs to a process, not to a commit: the head of a new log, and the checkpoint when the ledger is closed.
    """
    strace = ["strace", "-y", "-e", "trace=pwrite64,fsync,fdatasync", "-e", "write=none", "-o", str(trace)]
    subprocess.run([*strace, ROOTSWAP, "--config", str(config), *arguments], check=True, capture_output=True)
    commits, frames = 0, False
    for line in trace.read_text().splitlines():
        if "ledger.db-wal>" not in line:
            continue
        if line.startswith("pwrite64("):
            frames = frames or not re.search(r", 0\) += ", line)
        elif re.match(r"f(?:data)?sync\(", line):
            commits += frames
            frames = False
    return commits


def measure_fsyncs() -> list[Figure]:
    """One upgrade and one rollback under strace."""
    figures = []
    with bench_site() as (site, config):
        for verb in ("upgrade", "rollback"):
            syncs = synced_commits(config, site.directory / "trace", verb, "web")
            with LedgerReader.open(Path(site.config.ledger_directory)) as reader:
                row = reader.transactions(limit=1)[0]
                begun = next(iter(reader.records(transaction=row.transaction)))
            steps = len(plan_from_json(begun.event.plan).steps)  # type: ignore[union-attr]
            figures.append(Figure(f"{verb} of {steps} steps", syncs, steps + 1, "syncs", 1.0))
    return figures

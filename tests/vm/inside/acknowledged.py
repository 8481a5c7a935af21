"""The command line, telling on standard output each record that the ledger has acknowledged, at that moment.

``python -m tests.vm.inside.acknowledged BUILD SEQ``: first the line of ``look``; then, once told to go on, an upgrade
of the jail, or a rollback if it can be. One process does both, because starting Python takes long in an emulated guest.
BUILD is ``sound``, or one of the broken ones that a power cut has to catch: ``unsynced`` has the ledger opened
with synchronous=OFF, ``late`` writes an intent after its effect.
"""

import hashlib
import json
import os
import sqlite3
import sys
from pathlib import Path

from commands.cli import main, progress
from commands.transactions.engine import Engine
from commands.transactions.plan import Plan
from commands.transactions.run import Run
from ledger import store
from ledger.codec import Record, encode
from ledger.events import StepStarted
from tests.power_loss.programs import CONNECTIONS, Weak
from tests.vm.inside.look import look


def tell(plan: Plan, record: Record) -> None:
    """One line, in one write."""
    said = {
        "seq": record.seq,
        "digest": hashlib.sha256(encode(record)).hexdigest(),
        "transaction": plan.transaction,
        "type": record.event.type,
        "step": getattr(record.event, "kind", None),
    }
    os.write(1, json.dumps(said).encode() + b"\n")


def unsync() -> None:
    """Open every ledger of this process with synchronous=OFF."""

    class Connection(Weak):
        instead = CONNECTIONS["off"]

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Connection)

    opened = store.Store.__init__
    setattr(store.Store, "__init__", lambda self, path, _connect: opened(self, path, connect))  # noqa: B010


def write_late() -> None:
    """Have each step's effect before its intent is durable (running it again then changes nothing)."""
    flush = Engine.flush

    def flush_late(engine: Engine, run: Run) -> None:
        for event in run.queue:
            if isinstance(event, StepStarted):
                run.plan.step(event.step).run(engine.drivers)
        flush(engine, run)

    setattr(Engine, "flush", flush_late)  # noqa: B010


BUILDS = {"sound": lambda: None, "unsynced": unsync, "late": write_late}

if __name__ == "__main__":
    seen = look(int(sys.argv[2]))
    os.write(1, json.dumps(seen).encode() + b"\n")
    BUILDS[sys.argv[1]]()
    sys.stdin.readline()
    setattr(progress.Progress, "observe", lambda _self, plan, record: tell(plan, record))  # noqa: B010
    status = main(["rollback" if seen["settled"]["history"] else "upgrade", "web"])
    sys.stdout.flush()
    os._exit(status)

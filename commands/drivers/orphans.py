"""Commands that a killed engine has left running: they hold the lock of its ledger, and so are found and ended.

Only ever used once the ledger says that the engine itself is gone. Linux only: elsewhere nothing is found.
"""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ledger.lock import start_time

_PROC = Path("/proc")
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that holds the lock. ``started`` tells it from a later process with the same number."""

    pid: int
    started: str
    command: str

    @property
    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return start_time(self.pid) == self.started


def find_orphans(lock: Path) -> tuple[Orphan, ...]:
    """The processes that hold the lock through an inherited descriptor, other than us and the engine that signed it."""
    try:
        wanted = lock.stat()
    except OSError:
        return ()
    not_ours = {os.getpid(), _signed_by(lock)}
    found = []
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdigit() or int(entry.name) in not_ours:
            continue
        started = start_time(int(entry.name))
        if started is not None and _has_open(entry, wanted):
            found.append(Orphan(int(entry.name), started, _command(entry)))
    return tuple(sorted(found, key=lambda orphan: orphan.pid))


def end_orphans(lock: Path, *, term_s: float = 3.0, kill_s: float = 5.0) -> tuple[Orphan, ...]:
    """End what holds the lock, with SIGTERM and after ``term_s`` with SIGKILL. Returns what even that did not end."""
    for number, patience_s in ((signal.SIGTERM, term_s), (signal.SIGKILL, kill_s)):
        deadline = time.monotonic() + patience_s
        orphans = find_orphans(lock)
        for orphan in orphans:
            _send(orphan, number)
        while any(orphan.is_alive for orphan in orphans) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    return find_orphans(lock)


def _send(orphan: Orphan, number: signal.Signals) -> None:
    # The descriptor names this very process, even if its number is given to another one meanwhile.
    with suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(orphan.pid)
        try:
            if orphan.is_alive:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return False
    for descriptor in descriptors:
        with suppress(OSError):
            if os.path.samestat(descriptor.stat(), wanted) and _holds_lock(process, descriptor.name):
                return True
    return False


def _holds_lock(process: Path, descriptor: str) -> bool:
    """Whether the file was locked through this descriptor: one who merely reads the file has nothing to do with us."""
    return "FLOCK" in (process / "fdinfo" / descriptor).read_text()


def _signed_by(lock: Path) -> int | None:
    try:
        return int(json.loads(lock.read_bytes())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    text = " ".join(b" ".join(words).decode(errors="replace").split())
    return "".join(c if c.isprintable() else "?" for c in text)[:100] or "?"

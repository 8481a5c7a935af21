"""One engine per ledger: a lock that the kernel drops when its last holder is gone.

The lock belongs to the open file, not to the process. A command that the engine starts may inherit the descriptor, so
that a command that outlives a killed engine keeps the ledger locked until its effect on the host is over.
"""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ledger.errors import LedgerLocked, LedgerMissing, LedgerUnusable

LOCK_FILE = "lock"
_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Holder:
    """Who took the lock last, by its own word. ``started`` tells two processes with one pid apart, where known."""

    pid: int
    argv: tuple[str, ...]
    at: str
    started: str | None

    @property
    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return self.started is None or self.started == start_time(self.pid)


class EngineLock:
    """An exclusive lock on ``path``, held until ``release`` and until the last child that inherited ``fd`` is gone."""

    def __init__(self, path: Path, fd: int, directory: int) -> None:
        self.path = path
        self.fd = fd
        self._directory = directory

    @classmethod
    def take(cls, path: Path, argv: tuple[str, ...], at: str) -> Self:
        """Lock ``path`` for the engine invoked as ``argv`` at the moment ``at``, or raise LedgerLocked at once."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError as error:
            raise LedgerMissing(
                f"cannot open ledger {path.parent}: no such directory", remedy="run `rootswap init`"
            ) from error
        except OSError as error:
            raise LedgerUnusable(
                f"cannot lock ledger {path.parent}: {error.strerror}",
                remedy="see that the file system of the ledger is mounted read-write, and be root",
            ) from error
        directory = -1
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The directory as well: whoever removes the file of a running engine must not get a second one.
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sign(fd, argv, at)
        except BlockingIOError as error:
            holder = _parse(os.pread(fd, _MOST_BYTES, 0))
            os.close(fd)
            if directory >= 0:
                os.close(directory)
            raise _locked(path, holder) from error
        except OSError as error:
            os.close(fd)
            raise LedgerUnusable(f"cannot lock ledger {path.parent}: {error.strerror}") from error
        return cls(path, fd, directory)

    def release(self) -> None:
        """Let go; twice is once. No LOCK_UN: that would take the lock from a child that still works."""
        if self.fd >= 0:
            os.close(self.fd)
            os.close(self._directory)
            self.fd = -1


def read_holder(path: Path) -> Holder | None:
    """Who took the lock ``path`` last, whether it is still held or not; None if the file does not say."""
    try:
        with path.open("rb") as file:
            return _parse(file.read(_MOST_BYTES))
    except OSError:
        return None


def start_time(pid: int) -> str | None:
    """When the process ``pid`` started, in ticks since boot; None if it has ended, or where no /proc says so."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the command's name in parentheses and may hold anything; we want the third and the 22nd.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _sign(fd: int, argv: tuple[str, ...], at: str) -> None:
    holder = {"pid": os.getpid(), "argv": argv, "at": at, "started": start_time(os.getpid())}
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(holder).encode() + b"\n", 0)


def _parse(words: bytes) -> Holder | None:
    try:
        found = json.loads(words)
        started = found["started"]
        argv = tuple(str(word) for word in found["argv"])
        return Holder(int(found["pid"]), argv, str(found["at"]), None if started is None else str(started))
    except (ValueError, KeyError, TypeError):
        return None


def _locked(path: Path, holder: Holder | None) -> LedgerLocked:
    alive = holder is None or holder.is_alive
    engine = "another engine" if holder is None else f"engine {holder.pid} ({' '.join(holder.argv)})"
    if alive:
        cause, remedy = f"{engine} holds it", "wait for it"
    else:
        cause = f"{engine} is gone, but a command that it started still runs"
        remedy = f"wait for that command, or find and end it (fuser {path})"
    return LedgerLocked(f"cannot open the ledger: {cause}", remedy=remedy, holder_alive=alive, lock_path=path)

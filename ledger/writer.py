"""The ledger as it is written: by one engine at a time."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ledger import index, rows, schema, store
from ledger.book import SealBook
from ledger.clock import Clock
from ledger.codec import LEDGER_STREAM, Origin, Record
from ledger.errors import AppendFailed, IllegalEvent, LedgerUnusable, TargetBusy, UnknownTransaction
from ledger.events import JsonObject, LedgerCreated, LedgerEvent, TransactionBegun, TransactionEvent
from ledger.index import Stream, TargetRow, TransactionRow
from ledger.lifecycle import State, TransactionStatus
from ledger.lock import LOCK_FILE, EngineLock
from ledger.merkle import Frontier
from ledger.pen import EventIds, Pen
from ledger.rows import NOTHING, Row, Tail
from ledger.sheaf import Sheaf
from ledger.store import Contents, Store


class LedgerWriter:
    """The one writer of a ledger, from ``open`` to ``close``.

    - What ``append`` has returned is on the disk: it survives a kill and a power cut, and nothing changes it later.
    - The events of one ``append`` become visible together, in one commit with one fsync, or not at all.
    - An event that does not fit the state of its transaction is refused before anything is written (IllegalEvent), and
      so is a second open transaction on a target (TargetBusy).
    - AppendFailed means that the events are not in the ledger: what they announce must not run. The writer stays
      usable. If a failed commit leaves the outcome open, the writer opens the file afresh and looks: the events are
      there, are made durable, and ``append`` returns as usual; or they are not; or nobody can say: LedgerUnusable,
      and every later call says the same.
    - One engine per ledger (LedgerLocked), by a lock that is held until ``close`` and by every child that inherits
      ``lock_fd``.
    - Opening looks at the end of the ledger and at the open transactions, in the time that those take and not the
      history. It refuses evidence that does not add up (LedgerDamaged), and an open transaction with events of a
      newer version (LedgerNewer).
    - Safe to call from several threads.
    """

    def __init__(self, lock: EngineLock, opened: Store, pen: Pen) -> None:
        """Not for callers, who use ``create`` or ``open``."""
        self._lock = lock
        self._store = opened
        self._pen = pen
        self._mutex = threading.RLock()
        self._tail: Tail
        self._frontier: Frontier
        self._streams: dict[str, Stream]
        self._ledger_version: int
        self._take(opened.load())
        #: What was signed, and what may be signed next.
        self.seals = SealBook(self._working, opened, pen.now)

    @classmethod
    def create(
        cls,
        directory: Path,
        origin: Origin,
        clock: Clock,
        *,
        key: str | None = None,
        new_id: Callable[[], str] | None = None,
        connect: schema.Connect = schema.connect,
    ) -> Self:
        """Create the ledger in ``directory`` if it is not there yet, and open it.

        ``key`` is the public key that will sign the checkpoints of a new ledger. A kill at any moment leaves a whole
        ledger or none.
        """
        store.require_versions()
        pen = Pen(origin, clock, new_id or EventIds())
        path = directory / schema.LEDGER_FILE
        with _explained("create the ledger"), ExitStack() as undo:
            store.make_directory(directory)
            lock = EngineLock.take(directory / LOCK_FILE, origin.actor.invoked, pen.now())
            undo.callback(lock.release)
            if not path.exists():
                store.build(path, Row.of(pen.record(NOTHING, 1, LedgerCreated(key=key)), Frontier()))
            writer = cls._open_locked(lock, path, pen, connect)
            undo.pop_all()
        return writer

    @classmethod
    def open(
        cls,
        directory: Path,
        origin: Origin,
        clock: Clock,
        *,
        new_id: Callable[[], str] | None = None,
        connect: schema.Connect = schema.connect,
    ) -> Self:
        """Lock and open the ledger in ``directory``; raises LedgerMissing if there is none."""
        store.require_versions()
        pen = Pen(origin, clock, new_id or EventIds())
        path = directory / schema.LEDGER_FILE
        schema.require_file(path)
        with _explained("open the ledger"), ExitStack() as undo:
            lock = EngineLock.take(directory / LOCK_FILE, origin.actor.invoked, pen.now())
            undo.callback(lock.release)
            writer = cls._open_locked(lock, path, pen, connect)
            undo.pop_all()
        return writer

    @classmethod
    def _open_locked(cls, lock: EngineLock, path: Path, pen: Pen, connect: schema.Connect) -> Self:
        with ExitStack() as undo:
            opened = Store(path, connect)
            undo.callback(opened.close)
            writer = cls(lock, opened, pen)
            undo.pop_all()
        return writer

    def close(self) -> None:
        """Let go of the file and of the lock; children that inherited the lock keep it."""
        with self._mutex:
            self._store.close()
            self._lock.release()  # in this order: the next engine must not meet our connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The database file."""
        return self._store.path

    @property
    def lock_fd(self) -> int:
        """The locked descriptor, for children to inherit: while one of them runs, no other engine can start."""
        return self._lock.fd

    def append(self, transaction: str, *events: TransactionEvent) -> tuple[Record, ...]:
        """Record ``events`` of ``transaction`` in one commit and return their records.

        Raises IllegalEvent, TargetBusy (nothing was written), AppendFailed or LedgerUnusable.
        """
        with self._working("append to the ledger"):
            if transaction not in self._streams:  # to look for it is to touch the shared index
                self._store.require_room(0)
            before = stream = self._find(transaction)
            sheaf = Sheaf(self._pen, self._tail, self._frontier)
            for event in events:
                stream = index.follow(stream, transaction, event, sheaf.tail.seq + 1)
                sheaf.add(stream.version, event, transaction, stream.begun)
            if stream is None or stream is before:
                return ()
            if any(type(event) is TransactionBegun for event in events):
                self._require_free(stream)
            self._store.write(sheaf.rows, stream, self._streams.get(transaction))
            self._tail, self._frontier = sheaf.tail, sheaf.frontier
            if stream.status.is_open:
                self._streams[transaction] = stream
            else:
                self._streams.pop(transaction, None)
            self._store.is_stale = False
            return tuple(sheaf.records)

    def note(self, *events: LedgerEvent) -> tuple[Record, ...]:
        """Record ``events`` that belong to no transaction, in one commit; raises as ``append`` does."""
        with self._working("append to the ledger"):
            sheaf = Sheaf(self._pen, self._tail, self._frontier)
            for version, event in enumerate(events, self._ledger_version + 1):
                if isinstance(event, LedgerCreated):
                    raise IllegalEvent(
                        f"cannot record {event.type}: it is the first record of every ledger, and only that"
                    )
                sheaf.add(version, event)
            if not sheaf.rows:
                return ()
            self._store.write(sheaf.rows, None)
            self._tail, self._frontier = sheaf.tail, sheaf.frontier
            self._ledger_version += len(sheaf.rows)
            self._store.is_stale = False
            return tuple(sheaf.records)

    def status(self, transaction: str) -> TransactionStatus:
        """Where ``transaction`` stands; raises UnknownTransaction."""
        if (found := self.find_status(transaction)) is None:
            raise _unknown(transaction)
        return found

    def find_status(self, transaction: str) -> TransactionStatus | None:
        """Where ``transaction`` stands; None if there is none of that name."""
        with self._working("read the ledger"):
            stream = self._find(transaction)
            return None if stream is None else stream.status

    def records(self, transaction: str) -> tuple[Record, ...]:
        """The records of ``transaction``, oldest first; raises UnknownTransaction."""
        with self._working("read the ledger"):
            found = rows.select_stream(self._store.connection, transaction)
            if not found:
                raise _unknown(transaction)
            return tuple(row.decode() for row in found)

    def open_transactions(self) -> dict[str, TransactionStatus]:
        """The transactions that have not ended, oldest first."""
        with self._working("read the ledger"):
            streams = sorted(self._streams.values(), key=lambda stream: stream.begun_seq)
            return {stream.transaction: stream.status for stream in streams}

    def transactions_of(self, target: str) -> list[TransactionRow]:
        """Every transaction of ``target``, whatever became of it, newest first."""
        with self._working("read the ledger"):
            return index.rows_of(self._store.connection, target)

    def waiting(self) -> list[TransactionRow]:
        """The plans that wait to be approved or run, oldest first."""
        with self._working("read the ledger"):
            return index.waiting_rows(self._store.connection)

    def owing(self) -> list[TransactionRow]:
        """The emergencies that nobody has answered for yet, oldest first."""
        with self._working("read the ledger"):
            return index.owing_rows(self._store.connection)

    def last_settled(self, target: str) -> TargetRow | None:
        """What the last transaction that ended left of ``target``, and which that was; None if there was none."""
        with self._working("read the ledger"):
            return next(iter(index.target_rows(self._store.connection, target)), None)

    def settled(self, target: str) -> JsonObject | None:
        """The state in which the last transaction that ended left ``target``; None if nothing is known or left."""
        return found.state if (found := self.last_settled(target)) else None

    def settled_targets(self) -> dict[str, JsonObject]:
        """The settled state of every target of which something is there."""
        with self._working("read the ledger"):
            return index.settled_states(index.target_rows(self._store.connection))

    def require_space(self, needed_bytes: int) -> None:
        """Raise unless the file system of the ledger is writable (LedgerUnusable) and has room (AppendFailed)."""
        found = os.statvfs(self.path.parent)
        if found.f_flag & os.ST_RDONLY:
            raise LedgerUnusable(
                f"cannot append to the ledger: {self.path.parent} is read-only", remedy=schema.WRITABLE
            )
        free = found.f_bavail * found.f_frsize
        if free < needed_bytes:
            raise AppendFailed(
                f"cannot append to the ledger: {self.path.parent} has {free} bytes free of {needed_bytes} needed",
                remedy=schema.MAKE_ROOM,
            )

    def _find(self, transaction: str) -> Stream | None:
        found = self._streams.get(transaction)
        if found is not None:
            return found
        return index.fold(row.decode() for row in rows.select_stream(self._store.connection, transaction))

    def _require_free(self, stream: Stream) -> None:
        """A refusal may be recorded beside an open transaction; a second change of its target may not."""
        if stream.status.state is State.REJECTED:
            return
        for other in self._streams.values():
            if other.begun.target == stream.begun.target and other.transaction != stream.transaction:
                raise TargetBusy(
                    f"cannot begin transaction {stream.transaction}: {other.transaction} on {other.begun.target} is "
                    f"{other.status.state}",
                    remedy="run `rootswap recover`, or decide what becomes of it",
                )

    def _take(self, contents: Contents) -> None:
        self._tail = contents.tail
        self._frontier = contents.frontier
        self._streams = contents.streams
        self._ledger_version = rows.last_version(self._store.connection, LEDGER_STREAM)

    @contextmanager
    def _working(self, action: str) -> Iterator[None]:
        with self._mutex, _explained(action):
            if self._store.is_stale:
                self._take(self._store.reload())
            yield


@contextmanager
def _explained(action: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise schema.explain(error, action) from error
    except OSError as error:
        raise LedgerUnusable(f"cannot {action}: {error}", remedy=schema.WRITABLE) from error


def _unknown(transaction: str) -> UnknownTransaction:
    return UnknownTransaction(f"cannot look up transaction {transaction}: there is none")

"""Record the real writer at SQLite's file layer, with apsw: a newer SQLite than Python's own, and no tracer.

The writer takes the function that opens its file as a parameter; here it gets one that opens it with apsw, through a
VFS that writes down every write, truncation, sync, creation and removal. What the writer does around SQLite (making
the ledger, syncing directories at opening) does not pass the VFS; so the ledger is there before the recording begins.

apsw speaks another dialect than the standard library: ``Connection`` translates the few words that the writer uses.
"""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import apsw

from ledger.lock import LOCK_FILE
from tests.power_loss.programs import LEDGER
from tests.power_loss.strace import WORTHLESS, Recorder
from tests.power_loss.trace import Mark, Sync, SyncDirectory, Truncate, Write, parent

_NAME = "recorded"


class _Vfs(apsw.VFS):
    """The system's own files, overheard."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        super().__init__(_NAME, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        if name is None:
            return apsw.VFSFile("", None, flags)  # a temporary file: gone after a crash
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _File(name, flags, self.recorder, self.relative(path))

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        path = self.relative(filename)
        if not path.endswith(WORTHLESS):
            self.recorder.rebind((path, None))
            if syncdir:
                self.recorder.ops.append(SyncDirectory(parent(path)))

    def relative(self, path: str) -> str:
        return str(Path(path).relative_to(self.recorder.root))


class _File(apsw.VFSFile):
    """One open file."""

    def __init__(self, name: Any, flags: list[int], recorder: Recorder, path: str) -> None:
        super().__init__("", name, flags)
        self._recorder = recorder
        known = recorder.names.get(path)
        self._file = recorder.create(path) if known is None else known
        # SQLite syncs the directory with the first sync of a journal or log that it may have created.
        is_journal = flags[0] & (apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL)
        self._unsynced_in = parent(path) if is_journal and flags[0] & apsw.SQLITE_OPEN_CREATE else None

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._recorder.change(Write(self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._recorder.change(Truncate(self._file, newsize))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._recorder.ops.append(Sync(self._file))
        if self._unsynced_in is not None:
            self._recorder.ops.append(SyncDirectory(self._unsynced_in))
            self._unsynced_in = None


class _Cursor:
    """A cursor of apsw under the names that the writer calls."""

    def __init__(self, cursor: apsw.Cursor) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """How many rows the statement has changed, if it was the last one that changed any."""
        return self._cursor.connection.changes()

    def fetchone(self) -> Any:
        return next(self._cursor, None)

    def fetchall(self) -> list[Any]:
        return list(self._cursor)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)


class Connection:
    """A connection of apsw under the names that the writer calls."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path), vfs=_NAME, flags=apsw.SQLITE_OPEN_READWRITE)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> _Cursor:
        return _Cursor(self._connection.execute(sql, tuple(parameters)))

    def close(self) -> None:
        self._connection.close()


@contextmanager
def recording(existing: Path, root: Path) -> Iterator[Recorder]:
    """Record what is done to ``root``, a copy of the ``existing`` files that are taken to be safe on the disk."""
    shutil.copytree(existing, root)
    recorder = Recorder(root)
    recorder.adopt()
    recorder.ops.append(Mark("long ago", {}))
    vfs = _Vfs(recorder)
    try:
        yield recorder
    finally:
        vfs.unregister()
    recorder.compare(apart_from=[f"{LEDGER}/{LOCK_FILE}"])


def connect(path: Path) -> sqlite3.Connection:
    """Opens ``path`` with apsw under a ``recording``."""
    return cast(sqlite3.Connection, Connection(path))

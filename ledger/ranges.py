"""A large ledger recounted by several processes, each a range of it.

Python uses one core, and most of what an auditor waits for is Python's. A range takes the hash and the right edge of
the tree before it as they are stored; that these are right is for the range before it to say (``Sums.join``). A process
that cannot be started, or is killed, is no verdict on the ledger: then the range is recounted here.
"""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from ledger import pages, schema, seals, tree
from ledger.errors import LedgerDamaged
from ledger.growth import PAGE
from ledger.recount import Recount
from ledger.rows import NOTHING, Columns, Tail, damaged, select_columns
from ledger.sums import Sums

#: A process takes a third of a second to start, in which it could have recounted as many records.
WORTHWHILE = 50_000

T = TypeVar("T")
#: A range of records: after the first number, up to the second.
Range = tuple[int, int]


def cut(end: int, count: int) -> list[Range]:
    """At most ``count`` ranges that make up the records 1 to ``end``, each of whole pages but the last."""
    count = max(1, min(count, end // WORTHWHILE))
    starts = [end * number // count // PAGE * PAGE for number in range(count)]
    return list(zip(starts, [*starts[1:], end], strict=True))


def cores() -> int:
    """How many processes can run at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def recount(connection: sqlite3.Connection, part: Range, wanted: frozenset[int]) -> Sums:
    """The sums of a range; an error of the ledger is part of them."""
    after, until = part
    try:
        start = NOTHING if after == 0 else _stored_tail(connection, after)
        frontier = tree.read_frontier(connection, after)
        origin, texts = seals.read_origin(connection), seals.texts(connection, after, until)
        recounting = Recount(start, frontier, origin, texts, wanted)
    except LedgerDamaged as error:
        return Sums.failed(after, error)
    try:
        for page in _pages(connection, after, until):
            recounting.take(page)
    except LedgerDamaged as error:
        recounting.sums.error = error
    return recounting.sums


def share(
    connection: sqlite3.Connection, path: Path, parts: Sequence[Range], wanted: frozenset[int]
) -> tuple[str, list[Sums]]:
    """``pages.check`` and the sums of all ``parts`` of the ledger file, found by processes."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Not forked: SQLite must not be taken along, and neither must a half-held lock of another thread.
    pool = ProcessPoolExecutor(len(parts) + 1, get_context("spawn"), initializer=pages.ignore_interrupt)
    try:
        with _nothing_to_import():
            checking = pool.submit(pages.check_file, path)
            futures = [pool.submit(_recount_file, path, part, wanted) for part in parts]
        found = _result(checking, lambda: pages.check(connection))
        return found, [
            _result(future, partial(recount, connection, part, wanted))
            for future, part in zip(futures, parts, strict=True)
        ]
    finally:
        pool.shutdown(cancel_futures=True)


def _result(future: "Future[T]", here: Callable[[], T]) -> T:
    """What a process has found, or what is found here if it came to grief."""
    try:
        return future.result()
    except (BrokenExecutor, OSError, sqlite3.Error):
        return here()


def _recount_file(path: Path, part: Range, wanted: frozenset[int]) -> Sums:
    with closing(schema.connect_reader(path)) as connection:
        connection.execute(pages.MAPPED)
        return recount(connection, part, wanted)


@contextmanager
def _nothing_to_import() -> Iterator[None]:
    """Else a new process would import the program that we are part of, and run it if it has no guard against that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _stored_tail(connection: sqlite3.Connection, seq: int) -> Tail:
    row = connection.execute("SELECT hash FROM events WHERE seq = ?", (seq,)).fetchone()
    if row is None or not isinstance(row[0], bytes):
        raise damaged(seq, "it is missing")
    return Tail(seq, row[0].hex())


def _pages(connection: sqlite3.Connection, after: int, until: int) -> Iterator[list[Columns]]:
    for start in range(after, until, PAGE):
        page = select_columns(connection, "WHERE seq > ? AND seq <= ? ORDER BY seq", (start, min(start + PAGE, until)))
        if not page:
            raise damaged(start + 1, "it is missing")
        yield page

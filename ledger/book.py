"""The writer's book of seals: what was signed, and what may be signed next."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from ledger import seals, tree
from ledger.checkpoint import Checkpoint, Seal
from ledger.errors import LedgerDamaged
from ledger.rows import read_tail
from ledger.seals import seal_damaged
from ledger.store import Store


class SealBook:
    """The signed checkpoints of a ledger, for the one who writes it.

    - A checkpoint is of records that are durable, and is what the stored tree says of them.
    - Nothing is added that does not go on from the last seal: ``check`` and ``add`` raise LedgerDamaged.
    - Each call takes O(log n) look-ups.
    """

    def __init__(
        self, working: Callable[[str], AbstractContextManager[None]], store: Store, now: Callable[[], str]
    ) -> None:
        """Not for callers, who use ``LedgerWriter.seals``."""
        self._working = working
        self._store = store
        self._now = now
        #: What the ledger is called: of its first record, which is there before the book is, and stays.
        self._origin: str | None = None

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """The checkpoint of the first ``size`` records, by default of all."""
        with self._working("read the ledger"):
            whole = read_tail(self._store.connection).seq
            return self._checkpoint(whole if size is None else size, whole)

    def key(self, size: int | None = None) -> str | None:
        """The public key that signs checkpoints of ``size`` records, by default of all; None if there is none yet."""
        with self._working("read the ledger"):
            connection = self._store.connection
            return seals.key_in_force(connection, read_tail(connection).seq if size is None else size)

    def last(self) -> Seal | None:
        """The newest seal."""
        with self._working("read the ledger"):
            return seals.last_seal(self._store.connection)

    def after(self, size: int) -> list[Seal]:
        """The seals of more than ``size`` records, oldest first."""
        with self._working("read the ledger"):
            return seals.seals_after(self._store.connection, size)

    def check(self, older: Checkpoint) -> None:
        """Raise LedgerDamaged unless the ledger goes on from ``older``, wherever that was kept."""
        with self._working("read the ledger"):
            self._check(older, read_tail(self._store.connection).seq)

    def add(self, seal: Seal) -> None:
        """Keep ``seal``, durably. Raises LedgerDamaged, AppendFailed or LedgerUnusable."""
        with self._working("seal the ledger"):
            connection = self._store.connection
            last, end = seals.last_seal(connection), read_tail(connection).seq
            if last is not None:
                self._check(last.checkpoint, end)
            self._check(seal.checkpoint, end)
            if last is not None and last.checkpoint.size >= seal.checkpoint.size:
                return
            self._store.write_seal(seal, self._now())
            self._store.is_stale = False

    def _check(self, older: Checkpoint, end: int) -> None:
        ours = self._checkpoint(older.size, end)
        if ours.origin != older.origin:
            raise seal_damaged(older.size, f"it is of another ledger, {older.origin}, not {ours.origin}")
        if ours.root != older.root:
            raise seal_damaged(older.size, "the records are not those that it was signed for")

    def _checkpoint(self, size: int, end: int) -> Checkpoint:
        """What the stored tree says of the first ``size`` records of the ``end`` that there are."""
        if not 0 < size <= end:
            raise LedgerDamaged(
                f"cannot trust the ledger: it ends with record {end}, but a checkpoint of {size} was signed",
                remedy="records were lost or an old copy was put back: restore the newest copy of the ledger",
            )
        connection = self._store.connection
        if self._origin is None:
            self._origin = seals.read_origin(connection)
        return Checkpoint(self._origin, size, tree.read_root(connection, size))

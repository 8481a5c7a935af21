"""The tables of the projections: lines to rows and back.

The columns of a table are the fields of its line; a settled state is kept as JSON.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cached_property, lru_cache
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import TypeAdapter

from projections.changes import SHARES, ChangeLine, TurnLine
from projections.current_state import Settled, TargetLine
from projections.history import Story, TransactionLine
from projections.marks import BEGAN
from projections.releases import ReleaseLine
from projections.shelf import VERSION
from projections.steps import StepLine, Values
from projections.timeline import DecisionLine, LogLine

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["VERSION"]

Cell = str | int | None
L = TypeVar(
    "L", bound=TransactionLine | StepLine | TargetLine | ReleaseLine | LogLine | ChangeLine | TurnLine | DecisionLine
)

_WHOLE = (int, int | None, bool)
_SETTLED = (Settled, Settled | None)


class Shape(Generic[L]):
    """A table of lines of one kind."""

    def __init__(self, name: str, kind: type[L], key: tuple[str, ...], *indexes: tuple[str, ...]) -> None:
        self.name = name
        self.kind = kind
        self.key = key
        self.indexes = indexes

    def create(self, database: "Database") -> None:
        """Create the table, without its indexes, inside the caller's transaction."""
        columns = {field.name: int if field.type in _WHOLE else str for field in fields(self.kind)}
        database.table(self.name).create(columns, pk=self.key, strict=True)

    def index(self, database: "Database") -> None:
        """Create the indexes of the table, inside the caller's transaction."""
        for index in self.indexes:
            database.table(self.name).create_index(index)

    def put(self, database: "Database", lines: Iterable[L]) -> None:
        """Insert ``lines``, or replace those of the same key in their place."""
        rows = [self._cells(line) for line in lines]
        if rows:
            database.conn.executemany(self._upsert, rows)

    def put_values(self, database: "Database", lines: Iterable[Values]) -> None:
        """As ``put``, of the values that a line would be made of."""
        names = itemgetter(*(field.name for field in fields(self.kind)))
        rows = [names(line) for line in lines]
        if rows:
            database.conn.executemany(self._upsert, rows)

    def find(
        self,
        database: "Database",
        where: str | None = None,
        named: Sequence[Cell] = (),
        *,
        order: str | None = None,
        limit: int | None = None,
    ) -> list[L]:
        """The lines that ``where`` picks; all of them, so that no cursor stays open."""
        tail = "" if where is None else f" WHERE {where}"
        tail += "" if order is None else f" ORDER BY {order}"
        tail += "" if limit is None else f" LIMIT {limit:d}"
        names = [field.name for field in fields(self.kind)]
        columns = ", ".join(f'"{name}"' for name in names)
        found = database.conn.execute(f"SELECT {columns} FROM {self.name}{tail}", named).fetchall()  # noqa: S608
        return [self._line(dict(zip(names, row, strict=True))) for row in found]

    def remove(self, database: "Database", key: str) -> None:
        """Take the line with that key out."""
        database.conn.execute(f"DELETE FROM {self.name} WHERE {self.key[0]} = ?", (key,))  # noqa: S608

    def _line(self, row: dict[str, Cell]) -> L:
        values: dict[str, object] = {**row}
        for name in self._settled:
            stored = row[name]
            values[name] = json.loads(stored) if isinstance(stored, str) else None
        return self._adapter.validate_python(values)

    @cached_property
    def _upsert(self) -> str:
        """Table.upsert_all says the same, but spells each value and each statement anew."""
        names = [field.name for field in fields(self.kind)]
        columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
        news = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in self.key)
        key = ", ".join(f'"{name}"' for name in self.key)
        return f"INSERT INTO {self.name} ({columns}) VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE SET {news}"  # noqa: S608

    def _cells(self, line: L) -> tuple[Cell, ...]:
        values = self._values(line)
        return tuple(map(_spelt, values)) if self._settled else values

    @cached_property
    def _values(self) -> "attrgetter[tuple[Cell, ...]]":
        return attrgetter(*(field.name for field in fields(self.kind)))

    @cached_property
    def _settled(self) -> tuple[str, ...]:
        return tuple(field.name for field in fields(self.kind) if field.type in _SETTLED)

    @cached_property
    def _adapter(self) -> TypeAdapter[L]:
        return TypeAdapter(self.kind)


TRANSACTIONS = Shape("transactions", TransactionLine, ("transaction_id",), ("begun_seq",), ("target", "begun_seq"))
STEPS = Shape("steps", StepLine, ("transaction_id", "step"))
TARGETS = Shape("targets", TargetLine, ("target",))
RELEASES = Shape("releases", ReleaseLine, ("release",))
#: Of copies only, for those who look with other tools; else a line is made of its record when it is asked for.
LOG = Shape("log", LogLine, ("seq",), ("at",), ("target", "seq"), ("transaction_id", "seq"))
#: The indexes hold all that ``questions`` asks of many lines at once.
CHANGES = Shape(
    "changes",
    ChangeLine,
    ("transaction_id",),
    ("begun_seq",),
    ("begun_at", "begun_seq"),
    ("target", "begun_seq"),
    ("target", "begun_at"),
    ("state", "begun_at"),
    ("approval", "begun_at"),
    ("kind", "begun_at"),
    ("window", "begun_at"),
)
TURNS = Shape("turns", TurnLine, ("seq",))
DECISIONS = Shape("decisions", DecisionLine, ("seq",))
_KEPT = (TRANSACTIONS, STEPS, TARGETS, RELEASES, CHANGES, TURNS, DECISIONS)
#: Indexes that a question names, most of them of some lines only.
_PARTIAL = (
    f"""CREATE INDEX changes_with_downtime ON changes
(target, begun_at, downtime_ns, {", ".join(SHARES.values())}, undo_ns, other_ns) WHERE downtime_ns IS NOT NULL""",
    """CREATE INDEX changes_by_person ON changes
(login, uid, login_uid, target, state, begun_at, planned_at, basis)""",
    f"CREATE INDEX changes_by_state ON changes (state, begun_at, target, planned_at, basis) WHERE {BEGAN}",
    """CREATE INDEX changes_by_approver ON changes (approved_by, begun_at, approval, target)
WHERE approved_by IS NOT NULL""",
    "CREATE INDEX changes_by_downtime ON changes (target, downtime_ns, begun_at) WHERE downtime_ns IS NOT NULL",
    "CREATE INDEX changes_unwound ON changes (begun_at) WHERE unwind_at IS NOT NULL",
    "CREATE INDEX decisions_by_moment ON decisions (at, login, target)",
)


def lay_out(database: "Database") -> None:
    """Create all tables, without their indexes, inside the caller's transaction."""
    for shape in _KEPT:
        shape.create(database)
    database.table("position").create({"id": int, "seq": int, "event_id": str}, pk="id", strict=True)


def lay_out_indexes(database: "Database") -> None:
    """Create the indexes: of full tables, they come at a third of what it takes to keep them up line by line."""
    for shape in _KEPT:
        shape.index(database)
    for statement in _PARTIAL:
        database.conn.execute(statement)


def find_story(database: "Database", transaction: str) -> Story | None:
    """A transaction with its steps."""
    found = TRANSACTIONS.find(database, "transaction_id = ?", [transaction])
    if not found:
        return None
    return Story(found[0], tuple(STEPS.find(database, "transaction_id = ?", [transaction], order="step")))


def _spelt(value: Cell | Settled) -> Cell:
    return _spelt_state(value) if isinstance(value, Settled) else value


@lru_cache(maxsize=256)
def _spelt_state(state: Settled) -> str:
    """What one transaction leaves, the next one finds."""
    stored = {field.name: getattr(state, field.name) for field in fields(Settled)}
    return json.dumps(stored, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

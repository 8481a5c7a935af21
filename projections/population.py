"""The population of an audit: every change that was begun in a period, and what shows that none is missing.

The list is spelt as JSON lines, one a change, in the order in which the changes began. Its digest is over those bytes.
Who has the records under a checkpoint can make the same list from them: `transaction.begun` is the first record of a
change, or follows `transaction.planned`, and the numbers of the records have no gap.
"""

import hashlib
import json
from dataclasses import dataclass

from ledger.checkpoint import Seal
from projections.questions import Connection, Row, Scope, ask


@dataclass(frozen=True, slots=True)
class Population:
    """A list of changes and the statement that it is whole.

    ``size`` is the number of records of the ledger when it was made; ``covered`` of the changes began under ``seal``.
    """

    since: str
    until: str
    target: str | None
    changes: list[Row]
    size: int
    seal: Seal | None
    key: str | None

    @property
    def lines(self) -> bytes:
        """The list, as JSON lines."""
        return b"".join(
            json.dumps(row, sort_keys=True, separators=(",", ":")).replace("\x7f", "\\u007f").encode() + b"\n"
            for row in self.changes
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the list."""
        return hashlib.sha256(self.lines).hexdigest()

    @property
    def covered(self) -> int:
        """How many of the changes began under the signed checkpoint."""
        sealed = 0 if self.seal is None else self.seal.checkpoint.size
        return sum(1 for row in self.changes if isinstance(row["begun_seq"], int) and row["begun_seq"] <= sealed)

    @property
    def statement(self) -> dict[str, object]:
        """What is stated, and by what it can be checked."""
        return {
            "since": self.since or None,
            "until": self.until or None,
            "target": self.target,
            "count": len(self.changes),
            "sha256": self.digest,
            "records": self.size,
            "checkpoint": self.seal and self.seal.checkpoint.text,
            "signature": self.seal and self.seal.signature,
            "key": self.key,
            "covered": self.covered,
            "not_covered": len(self.changes) - self.covered,
        }


def count(tables: Connection) -> int:
    """How many transactions there are in all, ever."""
    found: int = tables.execute("SELECT count(*) FROM transactions").fetchone()[0]
    return found


def population(tables: Connection, scope: Scope, size: int, seal: Seal | None, key: str | None) -> Population:
    """Every change of the scope, whatever its limit."""
    everything = Scope(scope.since, scope.until, scope.target)
    return Population(
        scope.since, scope.until, scope.target, ask(tables, "population", everything), size, seal, key
    )  # fmt: skip

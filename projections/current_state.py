"""What there is now: the settled state of each target, since when and by which transaction.

The ledger keeps settled states as the write side encodes them, opaque to it. Here they are read as plain JSON, and only
the parts that people ask for: the release, whether it runs, what it could be rolled back to.
"""

from dataclasses import dataclass

from ledger.events import JsonObject
from projections.fields import flag, inner, objects, text


@dataclass(frozen=True, slots=True)
class Settled:
    """A settled state in brief. ``past`` are the releases to roll back to, latest last; None where it does not apply.

    A jail has ``release``, ``running`` and ``past``; a template ``release`` and ``head``; the pool ``path``.
    """

    release: str | None = None
    running: bool | None = None
    head: str | None = None
    path: str | None = None
    past: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetLine:
    """A target as the last transaction that ended left it.

    ``since`` and ``by`` tell when and by which transaction its release came (of the pool: when it was laid out);
    ``settled_at`` and ``settled_by`` are of the last transaction, which may have been a mere restart.
    """

    target: str
    settled: Settled
    since: str
    by: str
    settled_at: str
    settled_by: str


def settled_of(stored: JsonObject | None) -> Settled | None:
    """The settled state of a target, out of what the ledger keeps; None where nothing is there."""
    if not stored:
        return None
    deployment = inner(stored, "deployment")
    return Settled(
        release=text(deployment, "release") or text(stored, "release"),
        running=flag(stored, "running"),
        head=text(stored, "head"),
        path=text(inner(stored, "pool"), "path"),
        past=tuple(release for item in objects(stored, "history") if (release := text(item, "release"))),
    )


def settle(line: TargetLine | None, target: str, settled: Settled, transaction: str, at: str) -> TargetLine:
    """The line of ``target`` once ``transaction`` has left it ``settled``."""
    if line is not None and is_same(line.settled, settled):
        return TargetLine(target, settled, line.since, line.by, at, transaction)
    return TargetLine(target, settled, at, transaction, at, transaction)


def is_same(old: Settled, new: Settled) -> bool:
    """Whether both are the same release, head or place, whatever else is different."""
    return (old.release, old.head, old.path) == (new.release, new.head, new.path)


def name_of(target: str) -> str:
    """The name in ``KIND:NAME``."""
    return target.partition(":")[2]

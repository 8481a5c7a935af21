"""The life of transactions, remembered: for whoever folds millions of events that are all alike.

``lifecycle.apply`` alone decides what may follow what. It looks at the steps of a transaction and at what happened to
them, never at its plan, its target or its cause. So with these put aside, transactions that went the same way are at
the same *place*, and what an event does there has to be asked only once.
"""

from dataclasses import replace

from ledger.events import TransactionEvent
from ledger.lifecycle import TransactionStatus, apply

_MOST_KEPT = 10_000


class Place:
    """Where a transaction stands, whichever it is; ``after`` holds what known events lead to, by their number."""

    __slots__ = ("after", "is_end", "status")

    def __init__(self, status: TransactionStatus) -> None:
        self.status = status
        self.is_end = not status.is_open
        self.after: dict[int, Place] = {}

    def __reduce__(self) -> tuple[type["Place"], tuple[TransactionStatus]]:
        """Between processes a place goes alone, without all that it leads to."""
        return Place, (self.status,)


class Courses:
    """All places that were met."""

    def __init__(self) -> None:
        self._places: dict[tuple[object, ...], Place] = {}
        self._first: dict[int, Place] = {}

    def begin(self, event: TransactionEvent, number: int | None = None) -> Place:
        """Where a transaction stands that has just begun; raises IllegalEvent for any other event."""
        known = None if number is None else self._first.get(number)
        if known is not None:
            return known
        found = self._place(apply(None, event))
        if number is not None:
            self._first[number] = found
        return found

    def follow(self, place: Place, event: TransactionEvent, number: int | None = None) -> Place:
        """Where ``event`` leads to from ``place``; raises IllegalEvent. Events of the same ``number`` are alike."""
        if number is not None:
            known = place.after.get(number)
            if known is not None:
                return known
        found = self._place(apply(place.status, event))
        if number is not None:
            place.after[number] = found
        return found

    def _place(self, status: TransactionStatus) -> Place:
        bare = replace(status, kind="", target="", plan={}, before=None, after=None, cause=None)
        key = (
            *(bare.kinds, bare.state, bare.steps, bare.attempts, bare.undo_attempts),
            *(bare.unwound, bare.accepted, bare.reboot_from),
        )
        found = self._places.get(key)
        if found is None:
            if len(self._places) >= _MOST_KEPT:
                self._places.clear()
                self._first.clear()
            found = self._places[key] = Place(bare)
        return found

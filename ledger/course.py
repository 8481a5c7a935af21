"""The life of transactions, remembered: for whoever folds millions of events that are all alike.

``lifecycle.apply`` alone decides what may follow what. It looks at the steps of a transaction and at what happened to
them, never at its plan, its target or its cause. So with these put aside, transactions that went the same way are at
the same *place*, and what an event does there has to be asked only once. Only where people have a say in it, in a plan
that waits and an emergency, is each transaction followed by itself.
"""

from dataclasses import replace

from ledger.events import TransactionBegun, TransactionEvent
from ledger.lifecycle import ENDS, TransactionStatus, apply

_MOST_KEPT = 10_000


class Place:
    """Where a transaction stands, whichever it is; ``after`` holds what known events lead to, by their number.

    A transaction that waits or owes an approval, or did until it ended, stands ``is_alone``: what may follow depends on
    its plan and on the persons behind it, so its status is whole, and nobody else is at its place.
    """

    __slots__ = ("after", "has_ended", "is_alone", "is_over", "status")

    def __init__(self, status: TransactionStatus, is_alone: bool = False) -> None:
        self.status = status
        self.is_alone = is_alone
        self.has_ended = status.state in ENDS
        self.is_over = status.is_over
        self.after: dict[int, Place] = {}

    def __reduce__(self) -> tuple[type["Place"], tuple[TransactionStatus, bool]]:
        """Between processes a place goes without all that it leads to."""
        return Place, (self.status, self.is_alone)


class Courses:
    """All places that were met."""

    def __init__(self) -> None:
        self._places: dict[tuple[object, ...], Place] = {}
        self._first: dict[int, Place] = {}

    def begin(self, event: TransactionEvent, number: int | None = None) -> Place:
        """Where a transaction stands of which this is the first event; raises IllegalEvent if it cannot be."""
        known = None if number is None else self._first.get(number)
        if known is not None:
            return known
        found = self._place(apply(None, event))
        if number is not None and not found.is_alone:
            self._first[number] = found
        return found

    def follow(self, place: Place, event: TransactionEvent, number: int | None = None) -> Place:
        """Where ``event`` leads to from ``place``; raises IllegalEvent. Events of the same ``number`` are alike."""
        if place.is_alone:
            return self._place(apply(place.status, event), stays_alone=not isinstance(event, TransactionBegun))
        if number is not None:
            known = place.after.get(number)
            if known is not None:
                return known
        found = self._place(apply(place.status, event))
        if number is not None:
            place.after[number] = found
        return found

    def _place(self, status: TransactionStatus, stays_alone: bool = False) -> Place:
        if stays_alone or status.planned is not None or status.owed is not None:
            return Place(status, is_alone=True)
        bare = replace(status, kind="", target="", plan={}, before=None, after=None, cause=None, approval=None)
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

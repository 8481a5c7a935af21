"""The hand that fills the envelope of a record."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from itertools import count

from pydantic import ValidationError

from ledger.clock import Clock
from ledger.codec import LEDGER_STREAM, Origin, Record, schema_version
from ledger.errors import IllegalEvent
from ledger.events import LedgerEvent, TransactionBegun, TransactionEvent, TransactionPlanned
from ledger.rows import Tail


class EventIds:
    """Fresh identifiers for events, 128 bits in hex: 64 random ones of the engine, a count, and 32 random ones more.

    Those of one engine lie side by side in the index that keeps them unique, so that a commit has one page of it to
    sync rather than one for each event.
    """

    def __init__(self) -> None:
        self._engine = os.urandom(8).hex()
        self._numbers = count()

    def __call__(self) -> str:
        """The next one."""
        return f"{self._engine}{next(self._numbers):08x}{os.urandom(4).hex()}"


@dataclass(frozen=True, slots=True)
class Pen:
    """What fills the envelope of a record: origin, clock and identifiers."""

    origin: Origin
    clock: Clock
    new_id: Callable[[], str]

    def now(self) -> str:
        """This moment, UTC with microseconds."""
        moment = self.clock.now().astimezone(UTC).isoformat(timespec="microseconds")
        return f"{moment.removesuffix('+00:00')}Z"

    def record(
        self,
        tail: Tail,
        version: int,
        event: TransactionEvent | LedgerEvent,
        transaction: str | None = None,
        begun: TransactionBegun | TransactionPlanned | None = None,
    ) -> Record:
        """The record that follows ``tail``, number ``version`` of its stream; ``begun`` is the order it serves."""
        try:
            return Record(
                seq=tail.seq + 1,
                previous=tail.hash,
                event_id=self.new_id(),
                stream=transaction or LEDGER_STREAM,
                version=version,
                transaction=transaction,
                target=None if begun is None else begun.target,
                type=event.type,
                schema_version=schema_version(event),
                at=self.now(),
                monotonic_ns=self.clock.monotonic_ns(),
                boot_id=self.origin.boot_id,
                host_id=self.origin.host_id,
                engine_version=self.origin.engine_version,
                actor=self.origin.actor,
                reason=None if begun is None else begun.reason,
                ticket=None if begun is None else begun.ticket,
                approval=None if begun is None else begun.approval,
                event=event,
            )
        except ValidationError as error:
            cause = error.errors(include_url=False)[0]["msg"]
            raise IllegalEvent(f"cannot record {event.type}: {cause}") from error

    def next_record(self, last: Record, tail: Tail, version: int, event: TransactionEvent | LedgerEvent) -> Record:
        """As ``record``, after ``last`` of the same stream and order, found valid: what differs is our own."""
        return last.model_copy(
            update={
                "seq": tail.seq + 1,
                "previous": tail.hash,
                "event_id": self.new_id(),
                "version": version,
                "type": event.type,
                "schema_version": schema_version(event),
                "at": self.now(),
                "monotonic_ns": self.clock.monotonic_ns(),
                "event": event,
            }
        )

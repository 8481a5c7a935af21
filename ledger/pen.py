"""The hand that fills the envelope of a record."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

from pydantic import ValidationError

from ledger.clock import Clock
from ledger.codec import LEDGER_STREAM, Origin, Record, schema_version
from ledger.errors import IllegalEvent
from ledger.events import LedgerEvent, TransactionBegun, TransactionEvent, TransactionPlanned
from ledger.rows import Tail


def new_event_id() -> str:
    """A fresh identifier for an event: 128 random bits in hex."""
    return os.urandom(16).hex()


@dataclass(frozen=True, slots=True)
class Pen:
    """What fills the envelope of a record: origin, clock and identifiers."""

    origin: Origin
    clock: Clock
    new_id: Callable[[], str]

    def now(self) -> str:
        """This moment, UTC with microseconds."""
        moment = self.clock.now().astimezone(UTC)
        return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

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

"""A record of the ledger, and its exact bytes.

A record is an event in its envelope: where it stands in the ledger and in its transaction, when, on which machine, by
whom and on whose authority. ``encode`` gives the one canonical spelling (sorted keys, compact, UTF-8, no NaN); those
bytes are what is stored, hashed and exported, and they are never rewritten. A record that an older version wrote is
lifted on read by pure functions, one per step of the schema version.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Self, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from ledger.authority import Approval
from ledger.errors import IllegalEvent, LedgerDamaged, LedgerNewer
from ledger.events import Event, EventBase, JsonObject, LedgerEvent, TransactionEvent
from ledger.names import Target, TransactionId

#: The stream of the events that belong to no transaction.
LEDGER_STREAM = "ledger"
#: What the first record names as the hash of the record before it.
GENESIS = "0" * 64

#: Lifts the body of one event type by one schema version; must not look at anything but its argument.
Upcaster = Callable[[JsonObject], JsonObject]
#: Keyed by event type and the version lifted from; the result has that version plus one.
UPCASTERS: Mapping[tuple[str, int], Upcaster] = {
    # Ledgers of version 1 had no key; the first one that they got is the first key.rotated.
    ("ledger.created", 1): lambda body: {**body, "key": None},
    # Version 1 had no policy: nobody was asked, and nobody wrote down who began it but in the envelope.
    ("transaction.begun", 1): lambda body: {**body, "authority": None},
}

# A model is spelt as its fields: none of ours says anything in another way than it holds it.
_spell = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=vars, check_circular=False
).encode
#: A string as JSON without a look at what it is.
_text = json.encoder.encode_basestring

#: The version of each event as it is written today.
CURRENT_VERSIONS: dict[str, int] = {
    kind.model_fields["type"].default: kind.schema_version
    for union in (TransactionEvent, LedgerEvent)
    for kind in get_args(union)
}


class Actor(BaseModel):
    """Who acts: the effective user, the login behind it and how the engine was invoked.

    ``login_uid`` is the audit identity that survives sudo, where the system keeps one; ``invoked`` is the argv.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    uid: int
    login: str
    login_uid: int | None
    invoked: tuple[str, ...]
    tty: str | None


class Origin(BaseModel):
    """Where records come from: constant for the life of one engine."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    host_id: str
    boot_id: str
    engine_version: str
    actor: Actor


class Envelope(BaseModel):
    """All of a record but its event.

    ``previous`` is the SHA-256 of the bytes of the record before it, ``version`` counts from 1 within ``stream`` (the
    transaction, or "ledger"). ``schema_version`` is that of the event as it was written. ``at`` is UTC and may jump;
    ``monotonic_ns`` does not, but is comparable only within one ``boot_id``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    seq: int = Field(ge=1)
    previous: str = Field(pattern=r"^[0-9a-f]{64}$")
    event_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    stream: str
    version: int = Field(ge=1)
    transaction: TransactionId | None
    target: Target | None
    type: str
    schema_version: int
    at: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
    monotonic_ns: int
    boot_id: str
    host_id: str
    engine_version: str
    actor: Actor
    reason: str | None
    ticket: str | None
    approval: Approval | None

    @model_validator(mode="after")
    def _stream_is_the_transaction(self) -> Self:
        if self.stream != (self.transaction or LEDGER_STREAM):
            raise ValueError(f"stream {self.stream!r} is not that of transaction {self.transaction!r}")
        return self


class Record(Envelope):
    """A record whose event this version knows; the event is in today's shape."""

    event: Event

    @model_validator(mode="after")
    def _type_is_the_events(self) -> Self:
        if self.type != self.event.type:
            raise ValueError(f"the envelope says {self.type!r}, the event {self.event.type!r}")
        return self


class RawRecord(Envelope):
    """A record whose event was written by a newer version: shown as it is, never acted upon."""

    event: JsonObject


AnyRecord = Record | RawRecord


def schema_version(event: EventBase) -> int:
    """The version under which ``event`` is stored today."""
    return type(event).schema_version


def record_hash(data: bytes) -> bytes:
    """SHA-256 over the exact bytes of a record."""
    return hashlib.sha256(data).digest()


def encode(record: Record) -> bytes:
    """The canonical bytes of ``record``.

    Raises IllegalEvent if it holds what JSON cannot say: NaN, infinity, or half a surrogate pair.
    """
    # The envelope is spelt by hand, in the order of its keys: half the time of sorting it with all that is in it.
    try:
        return (
            f'{{"actor":{_spelled_actor(record.actor)},"approval":{_spelled_approval(record.approval)}'
            f',"at":{_text(record.at)},"boot_id":{_text(record.boot_id)},"engine_version":{_text(record.engine_version)}'
            f',"event":{_spell(vars(record.event))},"event_id":{_text(record.event_id)},"host_id":{_text(record.host_id)}'
            f',"monotonic_ns":{record.monotonic_ns},"previous":{_text(record.previous)},"reason":{_word(record.reason)}'
            f',"schema_version":{record.schema_version},"seq":{record.seq},"stream":{_text(record.stream)}'
            f',"target":{_word(record.target)},"ticket":{_word(record.ticket)},"transaction":{_word(record.transaction)}'
            f',"type":{_text(record.type)},"version":{record.version}}}'
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise IllegalEvent(f"cannot encode {record.type}: {error}") from error


def _word(value: str | None) -> str:
    return "null" if value is None else _text(value)


@lru_cache(maxsize=4)
def _spelled_actor(actor: Actor) -> str:
    """The actor is the same in every record of a process."""
    return _spell(vars(actor))


def _spelled_approval(approval: Approval | None) -> str:
    return "null" if approval is None else _spell(vars(approval))


def canonical(value: JsonValue) -> bytes:
    """JSON with sorted keys, no blanks, UTF-8; raises ValueError for what JSON cannot say."""
    return _spell(value).encode()


def decode(data: bytes, *, upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS) -> Record:
    """The record that ``data`` spells, its event lifted to today's shape.

    Raises LedgerNewer if a newer version wrote it, LedgerDamaged if it is not a record.
    """
    raw = _parse(data)
    return _current_record(raw) or _decode(raw, _envelope(raw), upcasters)


def decode_any(data: bytes, *, upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS) -> AnyRecord:
    """As ``decode``, but a newer event comes back undecoded; raises LedgerDamaged only."""
    raw = _parse(data)
    record = _current_record(raw)
    if record is not None:
        return record
    envelope = _envelope(raw)
    try:
        return _decode(raw, envelope, upcasters)
    except LedgerNewer:
        return envelope


def _parse(data: bytes) -> JsonObject:
    try:
        raw = _read(data.decode())
    except (ValueError, RecursionError) as error:
        raise LedgerDamaged(f"cannot decode record: not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise LedgerDamaged("cannot decode record: not a JSON object")
    return raw


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_read = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _current_record(raw: JsonObject) -> Record | None:
    """The record, if it is sound and in today's shape, which nearly all are; None leaves it to those who can say."""
    kind, version = raw.get("type"), raw.get("schema_version")
    if not isinstance(kind, str) or isinstance(version, bool) or CURRENT_VERSIONS.get(kind) != version:
        return None
    try:
        return Record.model_validate(raw)
    except ValidationError:
        return None


def _envelope(raw: JsonObject) -> RawRecord:
    try:
        return RawRecord.model_validate(raw)
    except ValidationError as error:
        raise LedgerDamaged(f"cannot decode record: {_first(error)}") from error


def _decode(raw: JsonObject, envelope: RawRecord, upcasters: Mapping[tuple[str, int], Upcaster]) -> Record:
    event = _lift(envelope, upcasters)
    try:
        return Record.model_validate({**raw, "event": event})
    except ValidationError as error:
        # The type of the event is known by now, so the only tag that can be strange is that of a fact: a new step adds
        # a fact without a new version of the event.
        if any(item["type"] == "union_tag_invalid" for item in error.errors(include_url=False)):
            raise _newer(envelope, f"{envelope.type} with an unknown fact") from error
        raise LedgerDamaged(f"cannot decode record {envelope.seq}: {_first(error)}") from error


def _lift(envelope: RawRecord, upcasters: Mapping[tuple[str, int], Upcaster]) -> JsonObject:
    current = CURRENT_VERSIONS.get(envelope.type)
    if current is None:
        raise _newer(envelope, f"unknown event {envelope.type}")
    if envelope.schema_version > current:
        raise _newer(envelope, f"{envelope.type} in version {envelope.schema_version}, known up to {current}")
    event = envelope.event
    for version in range(envelope.schema_version, current):
        lift = upcasters.get((envelope.type, version))
        if lift is None:
            raise LedgerDamaged(f"cannot decode record {envelope.seq}: {envelope.type} never had version {version}")
        event = lift(event)
    return event


def _newer(envelope: RawRecord, cause: str) -> LedgerNewer:
    written_by = envelope.engine_version
    return LedgerNewer(
        f"cannot decode record {envelope.seq}: {cause}, written by rootswap {written_by}",
        remedy=f"use rootswap {written_by} or newer",
    )


def _first(error: ValidationError) -> str:
    item = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in item["loc"])
    return f"{place}: {item['msg']}" if place else item["msg"]

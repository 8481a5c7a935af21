"""Records for those who only show them: the same evidence, but the event as the JSON that it is.

Bytes are held against their hash and columns against the bytes, as everywhere, and an event of an older version is
lifted. But nothing is made of its fields: who shows, shows what is there, and who acts reads with ``Row.decode``.
"""

from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple, get_args

from pydantic_core import from_json

from ledger.authority import Approval
from ledger.codec import CURRENT_VERSIONS, Actor, RawRecord, Record
from ledger.events import JsonObject
from ledger.facts import Fact
from ledger.rows import Columns, Row

_COPIES = itemgetter("seq", "event_id", "stream", "version", "transaction", "target", "type", "schema_version", "at")
_BEGUN = "transaction.begun"
_FACTS = frozenset(kind.model_fields["fact"].default for kind in get_args(get_args(Fact)[0]))


class PlainRecord(NamedTuple):
    """A record whose ``event`` is JSON, in today's shape unless it ``is_newer``. There are millions of them.

    The plan of a transaction, three tenths of a ledger, says nothing to who shows it, and may be left out.
    """

    seq: int
    event_id: str
    version: int
    transaction: str | None
    target: str | None
    type: str
    at: str
    monotonic_ns: int
    boot_id: str
    host_id: str
    engine_version: str
    actor: Actor
    reason: str | None
    ticket: str | None
    approval: Approval | None
    event: JsonObject
    is_newer: bool


def read_plain(row: Columns) -> PlainRecord:
    """The record in a row of ``events``; raises LedgerDamaged."""
    return _quickly(row) or _of(Row(*row).decode_any())


def _quickly(row: Columns) -> PlainRecord | None:
    """None if it is not as nearly all records are, for whatever reason."""
    try:
        seq, event_id, _, version, transaction, target, kind, schema_version, at, hashed, _, data = row
        if hashed != sha256(data).digest():
            return None
        found = from_json(_without_plan(data) if kind == _BEGUN else data, allow_inf_nan=False)
        event, actor, approval = found["event"], found["actor"], found["approval"]
        if _COPIES(found) != row[:9] or CURRENT_VERSIONS.get(kind) != schema_version or event["type"] != kind:
            return None
        if "fact" in event and event["fact"]["fact"] not in _FACTS:
            return None
        return PlainRecord(
            seq,
            event_id,
            version,
            transaction,
            target,
            kind,
            at,
            found["monotonic_ns"],
            found["boot_id"],
            found["host_id"],
            found["engine_version"],
            _actor(actor["uid"], actor["login"], actor["login_uid"], tuple(actor["invoked"]), actor["tty"]),
            found["reason"],
            found["ticket"],
            None if approval is None else Approval(**approval),
            event,
            False,
        )
    except (TypeError, ValueError, KeyError):
        return None


def _without_plan(data: bytes) -> bytes:
    """A record without the plan in its event, if it is where it is in nearly all of them.

    In JSON these bytes can only be the names of fields, for within a text a quote is escaped. If the first one is not
    of the event but of something within it, then what is left has a brace too few, and is decoded in full.
    """
    start, end = data.find(b',"plan":{'), data.rfind(b'},"reason":')
    return data[:start] + data[end + 1 :] if 0 < start < end else data


def _of(record: Record | RawRecord) -> PlainRecord:
    is_newer = isinstance(record, RawRecord)
    event = record.event if isinstance(record, RawRecord) else record.event.model_dump(mode="json")
    return PlainRecord(
        record.seq,
        record.event_id,
        record.version,
        record.transaction,
        record.target,
        record.type,
        record.at,
        record.monotonic_ns,
        record.boot_id,
        record.host_id,
        record.engine_version,
        record.actor,
        record.reason,
        record.ticket,
        record.approval,
        event,
        is_newer,
    )


@lru_cache(maxsize=64)
def _actor(uid: int, login: str, login_uid: int | None, invoked: tuple[str, ...], tty: str | None) -> Actor:
    """The same in all records of an engine."""
    return Actor(uid=uid, login=login, login_uid=login_uid, invoked=invoked, tty=tty)

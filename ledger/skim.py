"""A fast look at records for who reads all of them.

Decoding a record costs many times as much as hashing it, and nearly all of it is the same in every record: who acts,
from where, which kind of step starts. So what a full decoding has once found valid is recognised by its bytes. A record
is taken apart into

- the *frame*: actor, approval, boot, engine, host, reason, target and ticket, the same all through a transaction;
- the *event*, where what varies is put aside: durations, the transaction's own identifier, those of others that made
  a release or a head of a template;
- the rest, which is matched to the letter against what the columns and the chain say that it must be.

What is put aside is replaced by something of the same kind within a JSON number or string, so that neither the
structure nor the validity of the event depends on it. Whatever is spelt in any other way is left to the full decoding,
which also says what is wrong: skimming never finds a fault.
"""

import json
import re
from dataclasses import dataclass
from hashlib import sha256 as _sha256

from pydantic import JsonValue

from ledger.codec import AnyRecord, Record, canonical, record_hash
from ledger.events import ApprovalGiven, ApprovalRefused, TransactionBegun, TransactionEvent, TransactionPlanned
from ledger.names import ID_ALPHABET, ID_LENGTH
from ledger.rows import Columns

_MOST_KEPT = 4096
_MOST_BYTES = 16 << 20
_TEXT = rb'"[^"\\\x00-\x1f]*"'
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
#: A moment and an identifier of an event, one after the other.
_VARYING = re.compile(rf"{_TIME}[0-9a-f]{{32}}", re.ASCII).fullmatch
_TICKS = re.compile(rb"0|[1-9]\d{0,17}").fullmatch
_HEAD = re.compile(rb'(.*,"at":")(%b)(","boot_id":.*"event":)' % _TIME.encode(), re.DOTALL)
_END = re.compile(
    rb',"event_id":"([0-9a-f]{32})(","host_id":%(t)s,"monotonic_ns":)(?:0|[1-9]\d{0,17}),"previous":"([0-9a-f]{64})'
    rb'(","reason":(?:null|%(t)s),"schema_version":)(\d+),"seq":(\d+),"stream":"([^"\\]*)","target":(null|%(t)s)'
    rb'(,"ticket":(?:null|%(t)s),"transaction":")([^"\\]*)","type":"([^"\\]*)","version":(\d+)\}' % {b"t": _TEXT}
)
_RELEASE = re.compile(rb"(@)[%b]{%d}(?![0-9A-Za-z])" % (ID_ALPHABET.encode(), ID_LENGTH))
_HEAD_OF = re.compile(rb'("(?:base|head)":")[%b]{%d}(?=")' % (ID_ALPHABET.encode(), ID_LENGTH))
_DURATION = re.compile(rb'("(?:duration|downtime)_ns":)(?:0|[1-9]\d{0,17})(?=[,}])')
#: What is text wherever there is a field of that name, but in the event that begins a transaction.
_FREE = re.compile(rb'("(?:after|before|cause|error|fingerprint|path|reason)":")[ !#-\[\]-~]*(?=")')
_BEGUN = "transaction.begun"
#: Who may do what: each word of these counts, as of the beginning of an emergency, so they are decoded every time.
OF_PEOPLE = (TransactionPlanned, ApprovalGiven, ApprovalRefused)
#: Nothing varies in these.
_PLAIN = frozenset({"step.started", "step.undo-started"})
_ID = re.compile(rf"[{ID_ALPHABET}]{{{ID_LENGTH}}}")
#: How the event that begins a transaction ends.
_PURPOSE = re.compile(
    rb',"reason":(null|%(t)s),("steps":\[[^\[\]\\]*\],"target":%(t)s),"ticket":(null|%(t)s),"type":"transaction\.begun"\}'
    % {b"t": _TEXT}
)


@dataclass(frozen=True, slots=True)
class Known:
    """An event that was found valid, without what varies; of two with the same ``number`` nothing else differs."""

    number: int
    event: TransactionEvent


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why a transaction was begun, in its own words."""

    reason: str | None
    ticket: str | None


@dataclass(frozen=True, slots=True)
class Frame:
    """What is the same in the records of a transaction, as the text between that which is not."""

    target: str | None
    texts: tuple[bytes, bytes, str, str, str]


@dataclass(frozen=True, slots=True)
class _Parts:
    frame: Frame
    at: str
    event: bytes
    end: tuple[str, ...]


class Skimmer:
    """Recognises records that are like those it has learnt."""

    def __init__(self) -> None:
        self._frames: set[tuple[bytes, bytes]] = set()
        self._targets: set[str | None] = set()
        self._events: dict[tuple[str, int, bytes], Known] = {}
        self._bytes = 0
        self._count = 0

    def recognise(self, row: Columns, frame: Frame, seq: int, previous: str) -> Known | None:
        """The event of ``row`` if it is number ``seq`` and goes on in ``frame`` after the record hashed ``previous``.

        Its version is for the caller to look at. None if only ``skim`` or decoding can say.
        """
        found, event_id, stream, version, transaction, target, kind, schema_version, at, hashed, _, data = row
        if found != seq or transaction != stream or target != frame.target:
            return None
        head_before, boot, host, reason, targeted = frame.texts
        try:
            if not _VARYING(at + event_id):
                return None
            head = b"%b%b%b" % (head_before, at.encode(), boot)
            end = (
                f',"previous":"{previous}{reason}{schema_version},"seq":{seq},"stream":"{stream}{targeted}{stream}"'
                f',"type":"{kind}","version":{version}}}'
            ).encode()
            if not data.startswith(head) or not data.endswith(end):
                return None
            event, here, ticks = data[len(head) : -len(end)].rpartition(f',"event_id":"{event_id}{host}'.encode())
            if not here or not _TICKS(ticks) or hashed != _sha256(data).digest():
                return None
        except (TypeError, AttributeError):
            return None  # in a page that was damaged a column may hold anything
        return self._events.get((kind, schema_version, _bare(event, stream, kind)))

    def skim(self, row: Columns, seq: int, previous: str) -> tuple[Known, Frame, Purpose | None] | None:
        """As ``recognise``, but of any transaction; with its frame, and the purpose if it begins here."""
        found, event_id, stream, version, transaction, target, kind, schema_version, at, hashed, _, data = row
        stored: object = data
        parts = _take_apart(data) if isinstance(stored, bytes) else None
        if parts is None or parts.frame.texts[:2] not in self._frames:
            return None
        if parts.frame.target not in self._targets or not _ID.fullmatch(parts.end[4]):
            return None
        texts = (event_id, previous, f"{schema_version}", f"{seq}", stream, transaction, kind, f"{version}")
        if parts.end != texts or parts.at != at or parts.frame.target != target:
            return None
        if found != seq or transaction != stream or hashed != record_hash(data):
            return None
        bare, purpose = _bare(parts.event, stream, kind), None
        if kind == _BEGUN:
            bare, purpose = _without_purpose(bare)
            if purpose is None:
                return None
        known = self._events.get((kind, schema_version, bare))
        return None if known is None else (known, parts.frame, purpose)

    def learn(self, row: Columns, record: AnyRecord) -> None:
        """Remember the frame and the event of the record in ``row``, which was decoded and found valid."""
        event = record.event
        if not isinstance(record, Record) or not isinstance(event, TransactionEvent) or _is_of_people(event):
            return
        parts = _take_apart(row[11])
        if parts is None or not _ID.fullmatch(row[2]) or not _is_as_spelt(parts.event, event):
            return
        bare = _bare(parts.event, row[2], row[6])
        if isinstance(event, TransactionBegun):
            bare, purpose = _without_purpose(bare)
            # Only the plan and the two states may hold what is put aside: the rest is believed of all that are alike.
            believed = canonical([event.kind, event.target, *event.steps, *_words(event)])
            if purpose is None or _bare(believed, row[2], _BEGUN) != believed or row[2].encode() in believed:
                return
        if self._bytes > _MOST_BYTES or len(self._events) >= _MOST_KEPT or len(self._frames) >= _MOST_KEPT:
            self._frames.clear()
            self._targets.clear()
            self._events.clear()
            self._bytes = 0
        self._count += 1
        self._bytes += len(bare)
        self._frames.add(parts.frame.texts[:2])
        self._targets.add(record.target)
        self._events[row[6], row[7], bare] = Known(self._count, event)


def _take_apart(data: bytes) -> _Parts | None:
    """The parts of a record. The last event_id is the envelope's, for the quotes within a text are escaped."""
    middle, tail = data.find(b',"event":{') + 9, data.rfind(b',"event_id":"')
    head = _HEAD.fullmatch(data, 0, middle) if 9 < middle < tail else None
    end = _END.fullmatch(data, tail) if head is not None else None
    if head is None or end is None:
        return None
    try:
        words = [word.decode() for word in end.groups()]
    except UnicodeDecodeError:
        return None
    event_id, host, previous, reason, schema_version, seq, stream, target, ticket, transaction, kind, version = words
    texts = (head[1], head[3], host, reason, f'","target":{target}{ticket}')
    frame = Frame(None if target == "null" else target[1:-1], texts)
    return _Parts(
        frame,
        head[2].decode(),
        data[middle:tail],
        (event_id, previous, schema_version, seq, stream, transaction, kind, version),
    )


def _bare(event: bytes, stream: str, kind: str) -> bytes:
    """An event with a zero byte for all that varies: JSON cannot hold one, so no other event looks like it.

    Empty if it holds one none the less. Only the value of a field is put aside, never its name: a colon stands before.
    """
    if b"\0" in event:
        return b""
    if kind in _PLAIN:
        return event
    bare = event.replace(b':"%b"' % stream.encode(), b':"\0"')
    if kind != _BEGUN:
        bare = b"\0".join(_FREE.split(b"\0".join(_DURATION.split(bare))))
    if b'"head":"' in bare:
        bare = b"\0".join(_HEAD_OF.split(bare))
    return b"\0".join(_RELEASE.split(bare)) if b"@" in bare else bare


def _without_purpose(event: bytes) -> tuple[bytes, Purpose | None]:
    found = _PURPOSE.fullmatch(event, event.rfind(b',"reason":'))
    if found is None:
        return event, None
    try:
        reason, ticket = (None if found[n] == b"null" else found[n][1:-1].decode() for n in (1, 3))
    except UnicodeDecodeError:
        return event, None
    return event[: found.start()] + b"\0" + found[2], Purpose(reason, ticket)


def _is_as_spelt(text: bytes, event: TransactionEvent) -> bool:
    """Whether ``text`` is in our spelling, and none of its values was read as anything but what it says."""
    try:
        stored = json.loads(text)
    except ValueError:  # a field of the envelope is there twice, so that we took another part for the event
        return False
    return canonical(stored) == text and _says(stored, event.model_dump(mode="json"))


def _says(stored: JsonValue, read: JsonValue) -> bool:
    """Fields that came later have a default in what was read."""
    if isinstance(stored, dict) and isinstance(read, dict):
        return all(name in read and _says(value, read[name]) for name, value in stored.items())
    return canonical(stored) == canonical(read)


def _words(event: TransactionBegun) -> list[JsonValue]:
    return [said.model_dump(mode="json") for said in (event.approval, event.authority) if said is not None]


def _is_of_people(event: TransactionEvent) -> bool:
    if isinstance(event, TransactionBegun):
        return event.authority is not None and event.authority.settle_by is not None
    return isinstance(event, OF_PEOPLE)

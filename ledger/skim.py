"""A fast look at records for who reads all of them.

Decoding a record costs twenty times as much as hashing it, and most of it is the same in every record: who acts, from
where, which kind of step starts. So what a full decoding has once found valid is recognised by its bytes: the *frame*
(everything before the event but the time) and the event (its durations put to 0: no fold looks at them). The rest, from
the event to the end, is matched to the letter against what the columns and the chain say it must be. Whatever is
spelt in any other way is left to the full decoding, which also says what is wrong: skimming never finds a fault.
"""

import re

from ledger.codec import AnyRecord, Record, record_hash
from ledger.events import TransactionBegun, TransactionEvent
from ledger.rows import Row, Tail

_MOST_KEPT = 4096
_TEXT = rb'"[^"\\\x00-\x1f]*"'
_AT = re.compile(rb',"at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)","boot_id":')
_DURATION = re.compile(rb'"(duration|downtime)_ns":(?:0|[1-9]\d*)')
_END = re.compile(
    rb',"event_id":"([0-9a-f]{32})","host_id":%(t)s,"monotonic_ns":(?:0|[1-9]\d*),"previous":"([0-9a-f]{64})"'
    rb',"reason":(?:null|%(t)s),"schema_version":(\d+),"seq":(\d+),"stream":"([^"\\]*)","target":(null|%(t)s)'
    rb',"ticket":(?:null|%(t)s),"transaction":"([^"\\]*)","type":"([^"\\]*)","version":(\d+)\}' % {b"t": _TEXT}
)


class Skimmer:
    """Recognises records that are like those it has learnt."""

    def __init__(self) -> None:
        self._frames: set[bytes] = set()
        self._events: dict[tuple[str, int, bytes], TransactionEvent] = {}

    def skim(self, row: Row, before: Tail) -> TransactionEvent | None:
        """The event of ``row``, durations aside, if hash, link and columns are right; None if only decoding can say."""
        parts = _parts(row)
        if parts is None:
            return None
        frame, at, body, end = parts
        event = self._events.get((row.type, row.schema_version, body))
        if event is None or frame not in self._frames:
            return None
        found = _END.fullmatch(end)
        if found is None or found.groups() != _expected(row, before.hash) or at != f"{row.at}".encode():
            return None
        if row.seq != before.seq + 1 or row.stream != row.transaction_id or row.hash != record_hash(row.record):
            return None
        return event

    def learn(self, row: Row, record: AnyRecord) -> None:
        """Remember the frame and the event of a record that was decoded and found valid."""
        event = record.event
        if not isinstance(record, Record) or not isinstance(event, TransactionEvent):
            return
        # The plan of a transaction is never the same twice.
        parts = None if isinstance(event, TransactionBegun) else _parts(row)
        if parts is None:
            return
        frame, _, body, _ = parts
        for kept in (self._frames, self._events):
            if len(kept) >= _MOST_KEPT:
                kept.clear()
        self._frames.add(frame)
        self._events[row.type, row.schema_version, body] = event


def _parts(row: Row) -> tuple[bytes, bytes, bytes, bytes] | None:
    """Frame, time, event and end of a record. The last event_id is the envelope's: quotes in texts are escaped."""
    stored: tuple[object, ...] = (row.record, row.hash)
    if not all(isinstance(column, bytes) for column in stored):
        return None
    data = row.record
    middle, tail = data.find(b',"event":{'), data.rfind(b',"event_id":"')
    at = _AT.search(data, 0, middle) if 0 < middle < tail else None
    if at is None:
        return None
    start, stop = at.span(1)
    body = _DURATION.sub(rb'"\1_ns":0', data[middle:tail])
    return data[:start] + data[stop:middle], at[1], body, data[tail:]


def _expected(row: Row, previous: str) -> tuple[bytes, ...]:
    # Formatted, not encoded: in a page that was damaged a column may hold anything.
    target = "null" if row.target is None else f'"{row.target}"'
    columns = (row.event_id, previous, row.schema_version, row.seq, row.stream, target)
    return tuple(f"{column}".encode() for column in (*columns, row.transaction_id, row.type, row.version))

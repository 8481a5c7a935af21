"""One record in the format of another tool, for each format one file. Pure: the same record gives the same bytes."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from ledger.codec import AnyRecord, RawRecord
from ledger.events import JsonObject
from projections.fields import body
from projections.timeline import LogLine, entry


@dataclass(frozen=True)
class Exported:
    """A record to be spelt: its stored bytes, what they say, and what the checkpoints call its ledger."""

    data: bytes
    record: AnyRecord
    origin: str

    @cached_property
    def line(self) -> LogLine:
        """The record in words."""
        return entry(self.record)

    @cached_property
    def event(self) -> JsonObject:
        """Its event as plain JSON."""
        return body(self.record)

    @property
    def digest(self) -> str:
        """SHA-256 of the stored bytes, in hex: the hash that the next record names."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def is_newer(self) -> bool:
        """Whether a newer version wrote it."""
        return isinstance(self.record, RawRecord)


def compact(value: JsonObject) -> bytes:
    """JSON in one line of ASCII: whatever might control a terminal or turn a line around is escaped."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("\x7f", "\\u007f").encode()

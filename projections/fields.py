"""Looking into JSON that a newer version may have written: a field that is missing or of another kind is None or empty.

The read side shows what it can. It never decides, so it may be lenient where the write side has to refuse.
"""

from ledger.codec import AnyRecord, Record
from ledger.events import JsonObject
from ledger.plain import PlainRecord

#: A record as it is told.
Told = AnyRecord | PlainRecord


def is_newer(record: Told) -> bool:
    """Whether a newer version wrote it, and part of it is not known."""
    return record.is_newer if isinstance(record, PlainRecord) else not isinstance(record, Record)


def body(record: Told) -> JsonObject:
    """The event of ``record`` as plain JSON; in today's shape, or in its own where a newer version wrote it."""
    if isinstance(record, Record):
        dumped: JsonObject = record.event.model_dump(mode="json")
        return dumped
    return record.event


def text(holder: JsonObject, key: str) -> str | None:
    """A text field."""
    value = holder.get(key)
    return value if isinstance(value, str) else None


def number(holder: JsonObject, key: str) -> int | None:
    """A whole number."""
    value = holder.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(holder: JsonObject, key: str) -> bool | None:
    """A truth value."""
    value = holder.get(key)
    return value if isinstance(value, bool) else None


def inner(holder: JsonObject, key: str) -> JsonObject:
    """An object within the object."""
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def objects(holder: JsonObject, key: str) -> tuple[JsonObject, ...]:
    """A list of objects."""
    value = holder.get(key)
    return tuple(item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def texts(holder: JsonObject, key: str) -> tuple[str, ...]:
    """A list of texts."""
    value = holder.get(key)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()

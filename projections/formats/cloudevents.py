"""CloudEvents 1.0 in the JSON format (github.com/cloudevents/spec, v1.0.2), one event a line.

``data`` is the record. The extension ``sequence`` is its number, as the spec's extension of that name orders strings:
with leading zeros; ``recordsha256`` is the digest of the stored bytes.
"""

import json

from ledger.events import JsonObject
from projections.formats import Exported, compact

_PREFIX = "rootswap"


def cloud_event(one: Exported) -> bytes:
    """The event for a record."""
    record = one.record
    event: JsonObject = {
        "specversion": "1.0",
        "id": record.event_id,
        "source": one.origin,
        "type": f"{_PREFIX}.{record.type}",
        "time": record.at,
        "datacontenttype": "application/json",
        "sequence": f"{record.seq:020d}",
        "recordsha256": one.digest,
    }
    if record.target:
        event["subject"] = record.target
    if record.transaction:
        event["transaction"] = record.transaction
    event["data"] = json.loads(one.data)
    return compact(event)

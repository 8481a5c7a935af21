"""OCSF 1.8 (schema.ocsf.io), one event a line.

What is done to jails and hosts is Application Lifecycle (6002), what becomes of pools, templates, releases and volumes
is Entity Management (3004), what happens to the ledger itself Event Log Activity (1008). The whole record is in
``raw_data``; what OCSF has no place for (plan, ticket, approval) in ``unmapped``.
"""

from datetime import datetime
from typing import NamedTuple

from ledger.events import JsonObject
from projections.fields import inner, number, text
from projections.formats import Exported, compact

VERSION = "1.8.0"

_LIFECYCLE, _ENTITY, _EVENT_LOG = 6002, 3004, 1008
_CATEGORY = {_LIFECYCLE: 6, _ENTITY: 3, _EVENT_LOG: 1}
_OTHER = 99
_SHA256 = 3
#: activity_id of Application Lifecycle, by kind of step or of transaction.
_INSTALL, _START, _STOP, _UPDATE = 1, 3, 4, 8
_LIFECYCLES = {
    "stop_jail": _STOP,
    "start_jail": _START,
    "remount_root": _UPDATE,
    "stop": _STOP,
    "start": _START,
    "restore": _START,
    "upgrade": _UPDATE,
    "rollback": _UPDATE,
    "deploy": _INSTALL,
}
#: activity_id of Entity Management, by fact, and the kind of entity.
_CREATE, _DELETE = 1, 4
_ENTITIES = {
    "pool-created": (_CREATE, "pool"),
    "template-built": (_CREATE, "template"),
    "snapshot-taken": (_CREATE, "release"),
    "release-retired": (_DELETE, "release"),
    "volumes-created": (_CREATE, "volumes"),
    "volumes-snapshotted": (_CREATE, "snapshot"),
}
#: activity_id of Event Log Activity.
_LOG_EVENTS = {"ledger.created": 6, "copy.failed": 3, "copy.resumed": 3}
_SUCCESS, _FAILURE = 1, 2
_STATUS = {
    "ok": _SUCCESS,
    "committed": _SUCCESS,
    "undone": _SUCCESS,
    "skipped": _SUCCESS,
    "failed": _FAILURE,
    "rolled-back": _FAILURE,
    "rejected": _FAILURE,
    "stuck": _FAILURE,
}
_INFORMATIONAL, _MEDIUM, _HIGH = 1, 3, 4


class _Kind(NamedTuple):
    """A class of OCSF, an activity in it, and what belongs to that class alone."""

    class_uid: int
    activity_id: int
    more: JsonObject


def ocsf_event(one: Exported) -> bytes:
    """The event for a record."""
    record, line = one.record, one.line
    kind = _kind(one)
    failed = record.type in ("copy.failed",) or _STATUS.get(line.outcome or "") == _FAILURE
    status = _FAILURE if failed else _STATUS.get(line.outcome or "", _OTHER)
    stuck = record.type in ("transaction.stuck", "step.undo-failed")
    event: JsonObject = {
        "class_uid": kind.class_uid,
        "category_uid": _CATEGORY[kind.class_uid],
        "activity_id": kind.activity_id,
        "type_uid": kind.class_uid * 100 + kind.activity_id,
        "activity_name": record.type,
        "time": int(datetime.fromisoformat(record.at).timestamp() * 1000),
        "severity_id": _HIGH if stuck else _MEDIUM if failed else _INFORMATIONAL,
        "status_id": status,
        "status": line.outcome or "recorded",
        "message": line.what,
        "metadata": _metadata(one),
        "device": {"uid": record.host_id, "type_id": _OTHER, "type": "server"},
        "actor": _actor(one),
        **kind.more,
        "unmapped": _unmapped(one),
        "raw_data": one.data.decode(),
        "raw_data_size": len(one.data),
        "raw_data_hash": {"algorithm_id": _SHA256, "value": one.digest},
    }
    if line.detail:
        event["status_detail"] = line.detail
    if line.duration_ns is not None:
        event["duration"] = line.duration_ns // 1_000_000
    return compact(event)


def _kind(one: Exported) -> _Kind:
    record, event = one.record, one.event
    fact = inner(event, "fact")
    entity = _ENTITIES.get(text(fact, "fact") or "")
    if entity is not None:
        activity, kind = entity
        name = text(fact, "after") or text(fact, "before") or text(fact, "path") or record.target or kind
        found: JsonObject = {"name": name, "type": kind, "type_id": _OTHER, "uid": name}
        more: JsonObject = {"entity": found}
        return _Kind(_ENTITY, activity, more if activity == _DELETE else {**more, "entity_result": found})
    if record.transaction is None:
        log: JsonObject = {"log_name": one.origin, "log_type": "rootswap ledger", "log_type_id": 2}
        return _Kind(_EVENT_LOG, _LOG_EVENTS.get(record.type, _OTHER), log)
    activity = _LIFECYCLES.get(text(event, "kind") or "", _OTHER)
    target = record.target or "unknown"
    return _Kind(_LIFECYCLE, activity, {"app": {"name": target.partition(":")[2] or target, "uid": target}})


def _metadata(one: Exported) -> JsonObject:
    record = one.record
    product: JsonObject = {"name": "rootswap", "vendor_name": "rootswap", "version": record.engine_version}
    metadata: JsonObject = {
        "version": VERSION,
        "product": product,
        "profiles": ["host"],
        "uid": record.event_id,
        "sequence": record.seq,
        "log_name": one.origin,
        "log_version": str(record.schema_version),
        "original_time": record.at,
    }
    return metadata if record.transaction is None else {**metadata, "correlation_uid": record.transaction}


def _actor(one: Exported) -> JsonObject:
    actor = one.record.actor
    user: JsonObject = {"name": actor.login, "uid": str(actor.uid if actor.login_uid is None else actor.login_uid)}
    return {"user": user, "app_name": "rootswap"}


def _unmapped(one: Exported) -> JsonObject:
    record = one.record
    found: JsonObject = {
        "transaction": record.transaction,
        "target": record.target,
        "boot_id": record.boot_id,
        "invoked": " ".join(record.actor.invoked),
        "uid": record.actor.uid,
        "reason": record.reason,
        "ticket": record.ticket,
        "approval": record.approval.model_dump(mode="json") if record.approval else None,
        "step": number(one.event, "step"),
    }
    return {name: value for name, value in found.items() if value is not None}

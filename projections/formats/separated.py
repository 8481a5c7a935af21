"""CSV (RFC 4180 but for the line ends), one record a line, for spreadsheets: nothing in it can become a formula."""

import csv
import io
from dataclasses import astuple, fields

from projections.cells import guarded
from projections.formats import Exported
from projections.timeline import LogLine

_MORE = ("uid", "tty", "host_id", "boot_id", "engine_version", "reason", "ticket", "approved_by", "sha256")
COLUMNS = (*(field.name for field in fields(LogLine)), *_MORE)


def separated(one: Exported) -> bytes:
    """The line for a record."""
    record = one.record
    actor, approval = record.actor, record.approval
    more = (
        actor.uid,
        actor.tty,
        record.host_id,
        record.boot_id,
        record.engine_version,
        record.reason,
        record.ticket,
        approval.by if approval else None,
        one.digest,
    )
    return _line([*astuple(one.line), *more])


def _line(values: "list[str | int | None]") -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        ["" if value is None else guarded(value) if isinstance(value, str) else value for value in values]
    )
    return text.getvalue().encode()


HEADING = _line(list(COLUMNS)) + b"\n"

"""RFC 5424, one message a line, as a relay takes it over TCP (RFC 6587, 3.4.2).

The facility is log audit. What can be searched for is in the structured data: the element ``origin`` of the RFC, and
one of ours under the enterprise number that RFC 5612 keeps for examples, since we have none.
"""

import re

from projections.cells import visible
from projections.formats import Exported

_FACILITY = 13
_ELEMENT = "rootswap@32473"
#: Severities of the RFC.
_CRITICAL, _WARNING, _NOTICE, _INFORMATIONAL = 2, 4, 5, 6
_SEVERITY = {
    "transaction.stuck": _CRITICAL,
    "step.undo-failed": _CRITICAL,
    "step.failed": _WARNING,
    "transaction.rolled-back": _WARNING,
    "transaction.rejected": _WARNING,
    "copy.failed": _WARNING,
    "transaction.begun": _NOTICE,
    "transaction.committed": _NOTICE,
    "operator.decided": _NOTICE,
    "key.rotated": _NOTICE,
}
_SPECIAL = re.compile(r'(["\\\]])')
#: As bytes go over the wire: a line end would end the message, all else is allowed but helps nobody.
_BOM = "\ufeff"


def syslog_line(one: Exported) -> bytes:
    """The message for a record."""
    record, line = one.record, one.line
    priority = _FACILITY * 8 + _SEVERITY.get(record.type, _INFORMATIONAL)
    header = (
        f"<{priority}>1 {record.at} {_word(record.host_id, 255)} rootswap {_word(record.transaction, 128)} "
        f"{_word(record.type, 32)}"
    )
    values = {
        "seq": str(record.seq),
        "target": record.target,
        "login": record.actor.login,
        "uid": str(record.actor.uid),
        "loginUid": None if record.actor.login_uid is None else str(record.actor.login_uid),
        "tty": record.actor.tty,
        "outcome": line.outcome,
        "reason": record.reason,
        "ticket": record.ticket,
        "sha256": one.digest,
    }
    ours = " ".join(f'{name}="{_quoted(value)}"' for name, value in values.items() if value is not None)
    origin = f'software="rootswap" swVersion="{_quoted(record.engine_version)[:32]}"'
    text = visible(": ".join(part for part in (line.what, line.detail) if part))
    mark = "" if text.isascii() else _BOM
    return f"{header} [origin {origin}][{_ELEMENT} {ours}] {mark}{text}".encode()


def _word(value: str | None, most: int) -> str:
    """A field of the header: printable ASCII without blanks, a dash for none."""
    return re.sub(r"[^!-~]", "-", value or "-")[:most]


def _quoted(value: str) -> str:
    return _SPECIAL.sub(r"\\\1", visible(value))

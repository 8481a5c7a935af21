"""When the ledger was verified last, and how that went: kept beside the ledger for ``metrics`` and for pages."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commands.config import Config
    from ledger.verify import VerifyReport


@dataclass(frozen=True, slots=True)
class Verified:
    """One verification; ``at`` is UTC, ``records`` and ``sealed`` are 0 where it failed."""

    at: str
    is_sound: bool
    records: int = 0
    sealed: int = 0
    cause: str | None = None


@contextmanager
def remembered(config: "Config") -> "Iterator[list[VerifyReport]]":
    """Keep what comes of a verification in the body, which adds its report to the list; also that it failed."""
    from ledger.clock import SystemClock
    from ledger.errors import LedgerDamaged

    at = f"{SystemClock().now():%Y-%m-%dT%H:%M:%S.%f}Z"
    reports: list[VerifyReport] = []
    try:
        yield reports
    except LedgerDamaged as error:
        _keep(config, Verified(at, False, cause=error.message))
        raise
    for report in reports:
        sealed = report.vouched.sealed if report.vouched else 0
        _keep(config, Verified(at, True, report.records, sealed))


def recall(config: "Config") -> Verified | None:
    """The last verification; None if there was none, or nothing is known of it."""
    from commands.drivers.host import LocalHost
    from ledger.errors import RootswapError

    try:
        found = json.loads(LocalHost().read(_path(config)))
        cause = found["cause"]
        return Verified(
            str(found["at"]),
            bool(found["is_sound"]),
            int(found["records"]),
            int(found["sealed"]),
            None if cause is None else str(cause),
        )
    except (RootswapError, ValueError, KeyError, TypeError):
        return None


def _keep(config: "Config", verified: Verified) -> None:
    """Who may not write there, an auditor with a copy, keeps nothing."""
    from contextlib import suppress

    from commands.drivers.host import LocalHost
    from ledger.errors import RootswapError

    with suppress(RootswapError):
        LocalHost().write(_path(config), json.dumps(asdict(verified)).encode() + b"\n")


def _path(config: "Config") -> str:
    return f"{config.state_directory}/verified.json"

"""What the tests of the read verbs do to a host, and how they look at an answer."""

import json
from collections.abc import Callable

import pytest

from commands.bootstrap import Session
from commands.cli import live
from commands.drivers.base import Drivers
from commands.transactions.plan import Plan
from ledger.events import TransactionStuck
from tests.site import Crash, Script, Site

Run = Callable[..., tuple[int, str, str]]


def ask(monkeypatch: pytest.MonkeyPatch, drivers: Drivers | None) -> None:
    monkeypatch.setattr(live, "drivers_if_root", lambda config: drivers)


def leave(site: Site) -> None:
    """Make the lock file tell of an engine that is gone; ours was this very process, which lives on."""
    (site.directory / "lock").write_text('{"pid": 1, "argv": ["rootswap"], "at": "", "started": "never"}')


def data(answer: tuple[int, str, str], code: int = 0) -> list:
    assert answer[0] == code, answer
    envelope = json.loads(answer[1])
    assert (envelope["schema"], envelope["ok"]) == ("rootswap/1", True)
    return envelope["data"]


def upgrade(session: Session) -> Plan | None:
    return session.requests.upgrade("web", None)


def crash_in_the_middle(site: Site) -> None:
    with pytest.raises(Crash):
        site.run(upgrade, Script(strike_at=1, only="before moving mount"))
    leave(site)


def get_stuck(site: Site) -> None:
    crash_in_the_middle(site)
    with site.session() as session:
        session.ledger.append("00000004", TransactionStuck(cause="somebody else's root is mounted"))
    leave(site)

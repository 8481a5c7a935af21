"""What recovery leaves behind at a boot, before anything else starts jails."""

from pathlib import Path

import pytest

from commands.drivers.base import JailSpec, JailState
from commands.drivers.memory import MemoryJails
from commands.errors import DriverError
from commands.transactions.plan import Purpose
from ledger.lifecycle import State
from tests.site import Crash, Script, Site

WEB, MAIL = ("/memory/jails/web/root", "/memory/jails/mail/root")


@pytest.fixture
def site(fast_directory: Path) -> Site:
    """Two jails that run."""
    site = Site(fast_directory).settle()
    site.run(lambda session: session.requests.upgrade("mail", None)).raise_unless_committed()
    return site


def recover(site: Site) -> tuple[str, ...]:
    """Recover as a boot does; the transactions that are stuck."""
    with site.session() as session:
        return session.recoverer.recover().stuck


def running(site: Site) -> set[str]:
    return {key.partition(":")[2] for key in site.world.state if key.startswith("jail:")}


def test_every_root_is_mounted_and_what_ran_is_started(site: Site) -> None:
    site.run(lambda session: session.requests.stop("mail")).raise_unless_committed()
    site.reboot()
    assert recover(site) == ()
    assert {f"mount:{WEB}", f"mount:{MAIL}"} <= set(site.world.state)
    assert running(site) == {"web"}


def test_a_jail_whose_transaction_is_stuck_has_no_root_and_is_not_started(site: Site) -> None:
    """Whoever starts it by hand starts it on an empty directory."""
    with site.session() as session:
        plan = session.requests.upgrade("web", None)
    assert plan is not None
    script = Script(1, only=f"before dropping mount:{WEB}")
    with pytest.raises(Crash), site.session(script) as session:
        session.engine.execute(plan, Purpose(reason="test"))
    site.world.state[f"mount:{WEB}"] = "foreign"
    assert recover(site) == (plan.transaction,)
    site.reboot()
    assert recover(site) == (plan.transaction,)
    assert f"mount:{WEB}" not in site.world.state
    assert f"mount:{MAIL}" in site.world.state
    assert running(site) == {"mail"}
    with site.session() as session:
        assert session.ledger.status(plan.transaction).state is State.STUCK


def test_a_jail_that_cannot_be_looked_at_keeps_no_other_one_down(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    state = MemoryJails.state

    def sick(self: MemoryJails, jail: JailSpec) -> JailState:
        if jail.name == "mail":
            raise DriverError("cannot ask for the jails: jls printed nothing")
        return state(self, jail)

    site.reboot()
    monkeypatch.setattr(MemoryJails, "state", sick)
    with pytest.raises(DriverError, match="cannot ask for the jails"):
        recover(site)
    assert running(site) == {"web"}
    monkeypatch.undo()
    assert recover(site) == ()
    assert running(site) == {"web", "mail"}

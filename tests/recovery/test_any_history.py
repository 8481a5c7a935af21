"""Any history of requests, crashes, reboots and recoveries leaves the host as the ledger says that it is settled."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from commands.bootstrap import Session
from commands.transactions.plan import Plan, Purpose, jail_settled
from ledger.errors import RootswapError
from ledger.reader import LedgerReader
from tests.site import Crash, Script, Site

POINT = st.one_of(st.none(), st.integers(1, 45))
REQUESTS = {
    "upgrade": lambda session: session.requests.upgrade("web", None),
    "upgrade mail": lambda session: session.requests.upgrade("mail", None),
    "rollback": lambda session: session.requests.rollback("web"),
    "start": lambda session: session.requests.start("web"),
    "stop": lambda session: session.requests.stop("web"),
    "upgrade the template": lambda session: session.requests.upgrade_template("debian", None),
}


class AnyHistory(RuleBasedStateMachine):
    """One host in memory, with a real ledger."""

    @initialize()
    def begin(self) -> None:
        shm = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
        self.site = Site(self.directory / "ledger").settle()
        self.must_recover = False

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    @precondition(lambda self: not self.must_recover)
    @rule(name=st.sampled_from(sorted(REQUESTS)), point=POINT)
    def request(self, name: str, point: int | None) -> None:
        plan = self._plan(name)
        if plan is None:
            return
        try:
            with self.site.session(Script(point)) as session:
                session.engine.execute(plan, Purpose())
        except Crash:
            self.must_recover = True

    def _plan(self, name: str) -> Plan | None:
        try:
            with self.site.session() as session:
                return _asked(name, session)
        except RootswapError:
            return None

    @rule(unwell=st.booleans())
    def the_latest_release_turns_out_well_or_not(self, unwell: bool) -> None:
        latest = max(key.removeprefix("release:") for key in self.site.world.state if key.startswith("release:"))
        used = set(self.site.world.state.values())
        if unwell and latest not in used:
            self.site.world.unhealthy.add(latest)
        else:
            self.site.world.unhealthy.discard(latest)

    @rule()
    def reboot(self) -> None:
        self.site.reboot()
        self.must_recover = True

    @precondition(lambda self: self.must_recover)
    @rule(point=POINT)
    def recover(self, point: int | None) -> None:
        try:
            with self.site.session(Script(point)) as session:
                session.recoverer.recover()
        except Crash:
            return
        self.must_recover = False

    @invariant()
    def the_host_is_as_settled(self) -> None:
        if not hasattr(self, "site") or self.must_recover:
            return
        state = self.site.world.state
        with LedgerReader.open(self.site.directory) as reader:
            reader.verify()
            assert not reader.transactions(open_only=True)
            targets = reader.settled_targets()
        for jail in ("web", "mail"):
            settled = jail_settled(targets.get(f"jail:{jail}"))
            release = settled.deployment.release if settled else None
            assert state.get(f"mount:/memory/jails/{jail}/root") == release
            assert state.get(f"jail:{jail}") == (release if settled and settled.running else None)
            assert f"mount:/memory/jails/{jail}/stage" not in state
        heads = [key for key in state if key.startswith("template:")]
        assert heads == [f"template:debian:{targets['template:debian']['head']}"]
        assert not [key for key in state if key.startswith("trash:")]


def _asked(name: str, session: Session) -> Plan | None:
    return REQUESTS[name](session)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

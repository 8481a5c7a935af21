"""Any history on ZFS and FreeBSD jails leaves what the ledger says and no more: no data set, mount or jail beside."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from commands.drivers.base import Presence
from commands.transactions.plan import Plan, Purpose, jail_settled
from ledger.errors import RootswapError
from ledger.reader import LedgerReader
from tests.fakes.jail_model import alive
from tests.fakes.site import HOME, STATE, FreeBsdSite
from tests.recovery.test_any_history import REQUESTS
from tests.site import Crash, Script

POINT = st.one_of(st.none(), st.integers(1, 115))


class AnyHistory(RuleBasedStateMachine):
    """One FreeBSD in memory, with a real ledger and the real drivers."""

    @initialize()
    def begin(self) -> None:
        shm = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
        self.site = FreeBsdSite(self.directory / "ledger")
        self.site.settle()
        self.must_recover = False

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    @precondition(lambda self: not self.must_recover)
    @rule(name=st.sampled_from([*sorted(REQUESTS), "destroy a release"]), point=POINT, choice=st.integers(0, 9))
    def request(self, name: str, point: int | None, choice: int) -> None:
        plan = self._plan(name, choice)
        if plan is None:
            return
        try:
            with self.site.session(Script(point)) as session:
                session.engine.execute(plan, Purpose())
        except Crash:
            self.must_recover = True

    def _plan(self, name: str, choice: int) -> Plan | None:
        try:
            with self.site.session() as session:
                if name != "destroy a release":
                    asked: Plan | None = REQUESTS[name](session)
                    return asked
                releases = session.drivers.storage.releases()
                return session.requests.destroy_release(releases[choice % len(releases)])
        except RootswapError:
            return None

    @rule(unwell=st.booleans())
    def the_latest_release_turns_out_well_or_not(self, unwell: bool) -> None:
        latest = max(self.site.ground.drivers().storage.releases(), default="") if not self.must_recover else ""
        in_use = {mount.special.rpartition("/")[2].replace(":", "@") for mount in self.site.ground.fake.state.mounts}
        if unwell and latest not in {special.rpartition("/")[2] for special in in_use}:
            self.site.ground.unhealthy.add(latest)
        else:
            self.site.ground.unhealthy.discard(latest)

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
        fake, drivers = self.site.ground.fake, self.site.ground.drivers()
        with LedgerReader.open(self.site.directory) as reader:
            reader.verify()
            assert not reader.transactions(open_only=True)
            targets = reader.settled_targets()
        wanted = {f"{HOME}/volumes", f"{HOME}/releases", f"{HOME}/templates", HOME, "tank"}
        for jail in ("web", "mail"):
            settled = jail_settled(targets.get(f"jail:{jail}"))
            root = f"{STATE}/jails/{jail}/root"
            if settled is None:
                assert fake.mounts_at(root) == []
            else:
                assert drivers.mounts.holds(root, drivers.storage.root_source(settled.deployment.release))
                assert drivers.storage.release_presence(settled.deployment.release) is Presence.PRESENT
                wanted |= {f"{HOME}/volumes/{jail}:{volume.name}" for volume in settled.deployment.jail.volumes}
            assert (alive(fake, jail) is not None) == (settled is not None and settled.running)
            assert fake.mounts_at(f"{STATE}/jails/{jail}/stage") == []
        head = (targets["template:debian"] or {})["head"]
        assert drivers.storage.templates() == (("debian", head),)
        assert drivers.storage.trash() == ()
        releases = drivers.storage.releases()
        wanted |= {f"{HOME}/templates/debian:{head}", *(f"{HOME}/releases/{one.replace('@', ':')}" for one in releases)}
        assert {name for _, name, _ in fake.datasets()} == wanted
        holders = [dataset for _, name, dataset in fake.datasets() if not name.startswith(f"{HOME}/volumes/")]
        snapshots = [one.name for dataset in holders for one in dataset.snapshots.values()]
        assert sorted(snapshots) == sorted(release.partition("@")[2] for release in releases)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)

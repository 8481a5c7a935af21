"""The engine on memory drivers with a real ledger: failures, signals, a failing ledger, stuck, two at once."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.bootstrap import Session
from commands.errors import (
    DriverError,
    Foreign,
    HostUnreachable,
    Interrupted,
    Refused,
    TransactionFailed,
    TransactionIsStuck,
    UsageError,
)
from commands.transactions.plan import Plan, Purpose, jail_settled
from commands.transactions.rehearsal import rehearse
from ledger.errors import AppendFailed, LedgerUnusable, TargetBusy
from ledger.events import StepStarted, StepUndoStarted
from ledger.lifecycle import State
from tests.site import CONFIG, Crash, Script, Site, fail


@pytest.fixture
def site(fast_directory: Path) -> Site:
    return Site(fast_directory / "ledger").settle()


def upgrade(session: Session) -> Plan:
    plan = session.requests.upgrade("web", None)
    assert plan is not None
    return plan


def release_of(site: Site, jail: str) -> str:
    with site.session() as session:
        settled = jail_settled(session.ledger.settled(f"jail:{jail}"))
    assert settled is not None
    return settled.deployment.release


def test_an_upgrade_and_a_rollback_swap_the_root_there_and_back(site: Site) -> None:
    before = site.host()
    old = release_of(site, "web")
    outcome = site.run(upgrade)
    assert outcome.state is State.COMMITTED
    assert outcome.downtime_ns is not None and outcome.downtime_ns > 0
    new = release_of(site, "web")
    assert new != old
    assert site.world.state["jail:web"] == site.world.state["mount:/memory/jails/web/root"] == new
    site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
    assert site.host() == before
    assert release_of(site, "web") == old


def test_n_steps_cost_n_plus_one_appends(site: Site) -> None:
    script = Script(only="after appending")
    with site.session() as session:
        plan = upgrade(session)
    with site.session(script) as session:
        session.engine.execute(plan, Purpose()).raise_unless_committed()
    assert len(script.seen) == len(plan.steps) + 1


def test_every_effect_has_a_durable_intent_before_it(site: Site) -> None:
    """I1: between any change of the host and the last append before it stands the intent of the step that makes it."""
    points = Script()
    with site.session() as session:
        plan = upgrade(session)
    with site.session(points) as session:
        session.engine.execute(plan, Purpose()).raise_unless_committed()
    intent = False
    effects = 0
    for point in points.seen:
        if point.startswith("after appending"):
            intent = "step.started" in point or "undo-started" in point
        if point.startswith(("before setting", "before dropping", "before moving", "before renaming")):
            effects += 1
            assert intent, point
    assert effects > 5


def but_not_the_ledger(script: Script) -> Callable[[str], None]:
    return lambda point: None if "appending" in point else script(point)


def test_a_failure_at_any_driver_call_leaves_the_host_as_before(site: Site) -> None:
    before = site.host()
    point = 0
    while True:
        point += 1
        with site.session() as session:
            plan = upgrade(session)
        script = Script(point, strike=fail, only="before ")
        with site.session(but_not_the_ledger(script)) as session:
            outcome = session.engine.execute(plan, Purpose())
        if len(script.seen) < point:
            break
        if outcome.state is State.COMMITTED:
            # The only call that may fail without harm is a poll of the health check, which asks again.
            assert "looking at jail:web" in script.seen[-1], script.seen[-1]
            site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
        else:
            assert outcome.state is State.ROLLED_BACK, script.seen[-1]
            with pytest.raises(TransactionFailed):
                outcome.raise_unless_committed()
        assert site.host() == before, script.seen[-1]
    assert point > 10


def test_a_host_that_cannot_be_reached_leaves_the_transaction_open_and_recovery_ends_it(site: Site) -> None:
    before = site.host()
    left_open = 0
    point = 0
    while True:
        point += 1
        with site.session() as session:
            plan = upgrade(session)
        script = Script(point, strike=lambda text: HostUnreachable(f"cannot reach box: {text}"), only="before ")
        with site.session(but_not_the_ledger(script)) as session:
            try:
                session.engine.execute(plan, Purpose())
            except HostUnreachable:
                left_open += 1
        if len(script.seen) < point:
            break
        with site.session() as session:
            session.recoverer.recover()
            assert session.ledger.open_transactions() == {}
        if site.host() != before:
            site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
        assert site.host() == before, script.seen[-1]
    assert left_open > 10


def test_a_failed_health_check_rolls_back_and_the_old_release_serves(site: Site) -> None:
    site.world.unhealthy.add("debian@00000003")
    before = site.host()
    outcome = site.run(upgrade)
    assert outcome.state is State.ROLLED_BACK
    assert "check_health" in (outcome.cause or "")
    assert "is not well" in (outcome.cause or "")
    assert outcome.downtime_ns is not None
    assert site.host() == before
    kept = [key for key in site.world.state if key.startswith("snapshot:web:") and "+unwound" in key]
    assert len(kept) == 2, "the data as it was at the stop is kept, marked unwound"


def signal_at(site: Site, step: int) -> Callable[[str], None]:
    """A gate that wants to stop once the intent of the n-th step is durable."""
    seen: list[str] = []

    def raise_signal(point: str) -> None:
        if point.startswith("after appending") and "step.started" in point:
            seen.append(point)
            if len(seen) == step:
                site.interrupt.signal = "SIGTERM"

    return raise_signal


def test_a_signal_before_the_point_of_no_return_unwinds_and_after_it_finishes(site: Site) -> None:
    before = site.host()
    with site.session() as session:
        plan = upgrade(session)
    assert plan.switch_begins is not None
    for number in range(len(plan.steps)):
        with site.session(signal_at(site, number + 1)) as session:
            plan = upgrade(session)
            outcome = session.engine.execute(plan, Purpose())
        site.interrupt.signal = None
        if number + 1 < (plan.switch_begins or 0):
            assert outcome.state is State.ROLLED_BACK
            with pytest.raises(Interrupted):
                outcome.raise_unless_committed()
        else:
            assert outcome.state is State.COMMITTED
            site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
        assert site.host() == before


def test_a_signal_before_the_first_step_rejects_the_transaction(site: Site) -> None:
    site.interrupt.signal = "SIGINT"
    outcome = site.run(upgrade)
    site.interrupt.signal = None
    assert outcome.state is State.REJECTED
    with site.session() as session:
        assert not any(isinstance(record.event, StepStarted) for record in session.ledger.records(outcome.transaction))


def test_an_append_that_fails_stops_the_engine_before_the_step_and_recovery_ends_it(site: Site) -> None:
    before = site.host()

    def strike(message: str) -> BaseException:
        return AppendFailed(message, remedy="make room")

    for at in range(1, 20):
        with site.session() as session:
            plan = upgrade(session)
        script = Script(at, strike=strike, only="before appending")
        points: list[str] = []

        def gate(point: str, script: Script = script, points: list[str] = points) -> None:
            points.append(point)
            script(point)

        with site.session(gate) as session:
            try:
                session.engine.execute(plan, Purpose())
            except AppendFailed:
                assert at == 1
                assert points[-1] == script.seen[-1], "something was done after the append had failed"
                assert site.host() == before
                continue
            except LedgerUnusable as error:
                assert "stays open" in error.message
                assert "rootswap recover" in error.remedy
                assert points[-1] == script.seen[-1], "something was done after the append had failed"
            else:
                assert at > len(plan.steps) + 1
                return
        with site.session() as session:
            session.recoverer.recover()
            assert session.ledger.open_transactions() == {}
        if release_of(site, "web") != "debian@00000001":
            site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
        assert site.host() == before
    raise AssertionError("the upgrade never came through")


def get_stuck(site: Site) -> str:
    """An upgrade whose root was taken by somebody else in the middle."""

    def take_the_root(point: str) -> None:
        if point.startswith("after appending") and "step.started" in point:
            seen.append(point)
            if len(seen) == 4:
                site.world.state["mount:/memory/jails/web/root"] = "somebody else's disk"

    seen: list[str] = []
    with site.session() as session:
        plan = upgrade(session)
    with site.session(take_the_root) as session:
        outcome = session.engine.execute(plan, Purpose())
    assert outcome.state is State.STUCK
    with pytest.raises(TransactionIsStuck) as caught:
        outcome.raise_unless_committed()
    assert caught.value.exit_code == 3
    assert f"rootswap resolve {plan.transaction}" in caught.value.remedy
    assert site.world.state["mount:/memory/jails/web/root"] == "somebody else's disk"
    return plan.transaction


def test_a_foreign_root_gets_the_transaction_stuck_and_blocks_its_target(site: Site) -> None:
    get_stuck(site)
    with site.session() as session, pytest.raises(TransactionIsStuck) as caught:
        session.requests.upgrade("web", None)
    told = "at /memory/jails/web/root): what is there is neither the former nor the planned state: expected "
    assert f"{told}debian@00000001 or debian@00000003, found somebody else's disk" in caught.value.message
    assert "resolve" in caught.value.remedy
    with site.session() as session:
        first = len(session.ledger.open_transactions())
        recovery = session.recoverer.recover()
        assert recovery.settled == ()
        assert len(recovery.stuck) == first == 1


def test_an_operator_who_has_mended_the_host_unwinds_a_stuck_transaction(site: Site) -> None:
    before = site.host()
    transaction = get_stuck(site)
    del site.world.state["mount:/memory/jails/web/root"]
    with site.session() as session:
        outcome = session.recoverer.resolve(transaction, "unwind", "alice", "unmounted the stray disk")
    assert outcome.state is State.ROLLED_BACK
    assert site.host() == before


def test_an_operator_may_accept_either_end_and_nothing_is_touched(site: Site) -> None:
    for choice, state in (("accept-before", State.ROLLED_BACK), ("accept-planned", State.COMMITTED)):
        transaction = get_stuck(site)
        state_before = dict(site.world.state)
        with site.session() as session:
            outcome = session.recoverer.resolve(transaction, choice, "alice", "checked by hand")  # type: ignore[arg-type]
        assert outcome.state is state
        assert site.world.state == state_before
        site.world.state["mount:/memory/jails/web/root"] = site.world.state["jail:web"] = release_of(site, "web")
        del site.world.state["mount:/memory/jails/web/stage"]
    assert release_of(site, "web") == "debian@00000003"


def test_only_a_stuck_transaction_can_be_resolved(site: Site) -> None:
    with site.session() as session, pytest.raises(UsageError):
        session.recoverer.resolve("00000000", "unwind", "alice", "why not")


def test_an_undo_that_fails_gets_the_transaction_stuck_and_can_be_tried_again(site: Site) -> None:
    site.world.unhealthy.add("debian@00000003")
    before = site.host()

    def break_the_mount(point: str) -> None:
        undoing = any(
            isinstance(record.event, StepUndoStarted) and record.event.kind == "remount_root"
            for record in site.observed
        )
        if undoing and point == "before setting mount:/memory/jails/web/root":
            raise Foreign("cannot mount: the disk is on fire")

    with site.session() as session:
        plan = upgrade(session)
    with site.session(break_the_mount) as session:
        outcome = session.engine.execute(plan, Purpose())
    assert outcome.state is State.STUCK
    assert "on fire" in (outcome.cause or "")
    with site.session() as session:
        again = session.recoverer.resolve(plan.transaction, "unwind", "alice", "put the fire out")
    assert again.state is State.ROLLED_BACK
    assert site.host() == before


def test_two_jails_are_upgraded_at_the_same_time_by_one_engine(site: Site) -> None:
    site.run(lambda session: session.requests.upgrade("mail", "debian@00000001")).raise_unless_committed()
    meeting = threading.Barrier(2, timeout=10)

    def meet(point: str) -> None:
        if point.startswith("before dropping jail:"):
            meeting.wait()

    with site.session() as session:
        plans = [session.requests.upgrade(name, None) for name in ("web", "mail")]
    outcomes = []
    with site.session(meet) as session:
        threads = [
            threading.Thread(target=lambda plan=plan: outcomes.append(session.engine.execute(plan, Purpose())))
            for plan in plans
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [outcome.state for outcome in outcomes] == [State.COMMITTED] * 2
    assert release_of(site, "web") == release_of(site, "mail") == "debian@00000003"


def test_a_target_holds_one_open_transaction(site: Site) -> None:
    with site.session() as session:
        first, second = upgrade(session), upgrade(session)
    with site.session(Script(2, only="before appending")) as session, pytest.raises(Crash):
        session.engine.execute(first, Purpose())
    with site.session() as session, pytest.raises(TargetBusy):
        session.engine.execute(second, Purpose())


def test_a_stopped_jail_is_switched_and_stays_stopped(site: Site) -> None:
    site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    with site.session() as session:
        plan = upgrade(session)
    assert {step.kind for step in plan.steps} == {"stage_root", "snapshot_volumes", "remount_root"}
    site.run(upgrade).raise_unless_committed()
    assert "jail:web" not in site.world.state
    assert site.world.state["mount:/memory/jails/web/root"] == "debian@00000003"


def test_a_second_rollback_does_not_go_forward_again(site: Site) -> None:
    site.run(upgrade).raise_unless_committed()
    site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
    with site.session() as session, pytest.raises(Exception, match="no other release before"):
        session.requests.rollback("web")


def test_an_upgraded_template_keeps_one_head_and_all_releases(site: Site) -> None:
    with site.session() as session:
        assert session.drivers.storage.templates() == (("debian", "00000003"),)
        assert session.drivers.storage.releases() == ("debian@00000001", "debian@00000003")


def test_a_changed_configuration_is_brought_in_without_touching_the_root(site: Site) -> None:
    site.config = CONFIG.model_copy(
        update={"jail": {**CONFIG.jail, "web": CONFIG.jail["web"].model_copy(update={"stop_timeout_s": 3.0})}}
    )
    with site.session() as session:
        plan = session.requests.upgrade("web", "debian@00000001")
    assert plan is not None
    rehearse(plan)
    assert {step.kind for step in plan.steps} == {"stop_jail", "snapshot_volumes", "start_jail", "check_health"}
    before = site.host()
    site.run(lambda session: session.requests.upgrade("web", "debian@00000001")).raise_unless_committed()
    assert site.host() == before
    with site.session() as session:
        assert session.requests.upgrade("web", "debian@00000001") is None


@pytest.mark.parametrize("change", [{"volumes": {"log": "/srv/log"}}, {"command": ("/opt/new",)}])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_configuration_that_does_not_fit_the_root_is_refused_before_anything_is_touched(
    site: Site, change: dict[str, object], is_stopped: bool
) -> None:
    if is_stopped:
        site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    site.config = CONFIG.model_copy(
        update={"jail": {**CONFIG.jail, "web": CONFIG.jail["web"].model_copy(update=change)}}
    )
    site.world.lacking |= {"/srv/log", "/opt/new"}
    before, seen = site.host(), len(site.observed)
    with site.session() as session, pytest.raises(DriverError, match=r"/srv/log|/opt/new"):
        session.requests.upgrade("web", "debian@00000001")
    assert site.host() == before
    assert len(site.observed) == seen
    site.world.lacking.clear()
    site.run(lambda session: session.requests.upgrade("web", "debian@00000001")).raise_unless_committed()


def test_every_plan_of_a_jail_can_be_rehearsed(site: Site) -> None:
    with site.session() as session:
        rehearse(upgrade(session))
        mail = session.requests.upgrade("mail", None)
        assert mail is not None
        rehearse(mail)
    site.run(upgrade).raise_unless_committed()
    with site.session() as session:
        rehearse(session.requests.rollback("web"))


def test_a_jail_that_died_is_not_called_up_to_date_and_recovery_starts_it(site: Site) -> None:
    site.run(upgrade).raise_unless_committed()
    before = site.host()
    del site.world.state["jail:web"]
    with site.session() as session, pytest.raises(Refused, match="does not run"):
        session.requests.upgrade("web", None)
    with site.session() as session:
        assert [outcome.state for outcome in session.recoverer.recover().restored] == [State.COMMITTED]
    assert site.host() == before


def test_recovery_starts_nothing_on_a_root_that_is_not_ours(site: Site) -> None:
    site.world.state["mount:/memory/jails/web/root"] = "somebody else's disk"
    del site.world.state["jail:web"]
    with site.session() as session:
        assert session.recoverer.recover().restored == ()
    assert "jail:web" not in site.world.state


def test_the_latest_release_of_a_template_is_not_destroyed(site: Site) -> None:
    with site.session() as session, pytest.raises(Refused, match="latest"):
        session.requests.destroy_release("debian@00000003")


def test_what_has_turned_back_cannot_be_continued(site: Site) -> None:
    transaction = get_stuck(site)
    with site.session() as session, pytest.raises(UsageError) as caught:
        session.recoverer.resolve(transaction, "continue", "alice", "why not")
    assert "unwind" in caught.value.remedy


def test_a_jail_that_somebody_restarts_on_the_old_root_is_not_called_upgraded(site: Site) -> None:
    old = release_of(site, "web")

    def supervise(point: str) -> None:
        if point.startswith("after dropping jail:web"):
            site.world.state["jail:web"] = old

    with site.session() as session:
        plan = upgrade(session)
    with site.session(supervise) as session:
        outcome = session.engine.execute(plan, Purpose())
    assert outcome.state is State.STUCK
    del site.world.state["jail:web"]
    with site.session() as session:
        assert session.recoverer.resolve(plan.transaction, "unwind", "alice", "removed the supervisor").state is (
            State.ROLLED_BACK
        )
    assert site.world.state["jail:web"] == old


def test_a_command_that_ends_at_once_is_told_by_its_name_though_there_is_no_health_check(
    fast_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = CONFIG.jail["web"].model_copy(update={"health": {}})
    site = Site(fast_directory, CONFIG.model_copy(update={"jail": {"web": bare}})).settle()
    before = site.host()
    ended: list[str | None] = []

    def end(_seconds: float) -> None:
        if not ended:
            ended.append(site.world.state.pop("jail:web", None))

    monkeypatch.setattr(site.world.clock, "sleep", end)
    site.world.printed["web"] = ("no such database",)
    outcome = site.run(upgrade)
    assert (outcome.state, outcome.cause) == (
        State.ROLLED_BACK,
        "step 6 (check_health) failed: cannot keep web running: its command /usr/sbin/nginx has ended by itself",
    )
    assert outcome.hint == 'the command has to stay in the foreground; web printed last: "no such database"'
    assert site.host() == before


def test_a_jail_on_the_wrong_root_can_be_stopped(site: Site) -> None:
    site.world.state["jail:web"] = "debian@00000003"
    with site.session() as session, pytest.raises(Refused):
        session.requests.upgrade("web", None)
    site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    assert "jail:web" not in site.world.state


def test_lost_data_is_not_replaced_by_an_empty_volume(site: Site) -> None:
    del site.world.state["volume:web:log"]
    with site.session() as session, pytest.raises(Refused, match="its data is gone"):
        session.requests.upgrade("web", None)


def test_a_leftover_that_cannot_be_removed_stands_in_nobodys_way(site: Site) -> None:
    site.run(upgrade).raise_unless_committed()
    before = site.host()
    site.world.state["template:debian:00000001"] = "an old head"
    site.reboot()

    def refuse(point: str) -> None:
        if point == "before dropping template:debian:00000001":
            raise DriverError("cannot destroy it: something is mounted there")

    with site.session(refuse) as session:
        recovery = session.recoverer.recover()
    assert recovery.warnings == ("cannot destroy it: something is mounted there",)
    assert site.world.state["jail:web"] == before["jail:web"]


def test_a_roll_back_to_a_jail_that_was_down_says_so(site: Site) -> None:
    site.world.unhealthy.add("debian@00000003")
    del site.world.state["jail:web"]
    outcome = site.run(upgrade)
    assert outcome.state is State.ROLLED_BACK
    with pytest.raises(TransactionFailed) as caught:
        outcome.raise_unless_committed()
    assert "rootswap jail start web" in caught.value.remedy


def test_a_template_whose_head_is_lost_can_be_built_anew(site: Site) -> None:
    del site.world.state["template:debian:00000003"]
    site.run(lambda session: session.requests.build("debian")).raise_unless_committed()


def test_a_template_is_built_anew_when_asked_and_jails_stay_on_their_releases(site: Site) -> None:
    with site.session() as session, pytest.raises(Refused, match="already there") as caught:
        session.requests.build("debian")
    assert "rootswap template build debian --again" in caught.value.remedy
    head = next(head for key in site.world.state if key.startswith("template:debian:") for head in [key[16:]])
    site.run(lambda session: session.requests.build("debian", again=True)).raise_unless_committed()
    heads = [key[16:] for key in site.world.state if key.startswith("template:debian:")]
    assert len(heads) == 1 and heads != [head]
    assert release_of(site, "web") == "debian@00000001"
    site.run(upgrade).raise_unless_committed()
    assert release_of(site, "web") == f"debian@{heads[0]}"


def test_an_empty_release_is_not_the_latest_one(site: Site) -> None:
    with site.session() as session, pytest.raises(UsageError):
        session.requests.upgrade("web", "")

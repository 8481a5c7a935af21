"""Every way round the gate that somebody has thought of. They are told one by one in docs/policy.md."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.errors import Refused
from commands.transactions.plan import Purpose
from ledger.authority import Authority, Person, WindowState
from ledger.errors import IllegalEvent
from tests.cli.bench import Printed
from tests.policy.conftest import EVA, PAUL, POLICY, Office

ROOT = Person(uid=0, login="root", source="uid")


def approved(office: Office) -> str:
    transaction = office.plan()
    assert office.run(EVA, "approve", transaction, "--reason", "yes").code == 0
    return transaction


def refused(printed: Printed, words: str) -> None:
    assert printed.code == 1, printed
    assert words in printed.err


def test_the_planner_does_not_approve(office: Office) -> None:
    transaction = office.plan()
    refused(office.run(PAUL, "approve", transaction, "--reason", "fine"), "paul has made it, and you are paul")
    refused(office.run(PAUL, "run", transaction), "nobody has approved it yet")


@pytest.mark.parametrize(
    "disguise",
    [
        PAUL.model_copy(update={"claimed": "eva"}),  # SUDO_USER=eva
        EVA.model_copy(update={"through": (PAUL.uid,)}),  # eva's shell, which paul has opened
        PAUL.model_copy(update={"through": (EVA.uid,)}),  # sudo -u eva sudo rootswap approve
    ],
)
def test_the_planner_in_disguise_does_not_approve(office: Office, disguise: Person) -> None:
    transaction = office.plan()
    refused(office.run(disguise, "approve", transaction, "--reason", "fine"), "somebody else has to approve it")


def test_nobody_approves_by_way_of_root_alone(office: Office) -> None:
    mine, roots = office.plan(), office.plan(ROOT)
    refused(office.run(ROOT, "approve", mine, "--reason", "fine"), "you are only root, and anybody may be behind root")
    refused(office.run(PAUL, "approve", roots, "--reason", "fine"), "whoever planned it was only root")


def test_an_approval_cannot_be_used_again(office: Office) -> None:
    """Run twice, and run again after a rollback has brought back the state of before."""
    transaction = approved(office)
    assert office.run(PAUL, "run", transaction).code == 0
    refused(office.run(PAUL, "run", transaction), "it does not wait any more, it is committed")
    back = office.plan(PAUL, "web", "--rollback")
    assert office.run(EVA, "approve", back, "--reason", "yes").code == 0
    assert office.run(PAUL, "run", back).code == 0
    refused(office.run(PAUL, "run", transaction), "it does not wait any more, it is committed")


def test_the_approval_of_one_plan_is_of_no_use_to_another(office: Office) -> None:
    old = approved(office)
    new = office.plan()
    assert old != new
    refused(office.run(PAUL, "run", new), "nobody has approved it yet")


def test_a_plan_that_is_overtaken_cannot_be_run_even_if_all_is_as_it_was(office: Office) -> None:
    transaction = approved(office)
    office.configure()
    assert office.bench.run("upgrade", "web").code == 0
    assert office.bench.run("rollback", "web").code == 0
    office.configure(POLICY)
    refused(office.run(PAUL, "run", transaction), "has changed web since it was planned")


def test_a_failed_run_uses_the_approval_up(office: Office) -> None:
    transaction = approved(office)
    release = office.bench.run("release", "list", "--json").data[-1]["release"]
    office.bench.world.unhealthy.add(release)
    refused(office.run(PAUL, "run", transaction), "was rolled back")
    office.bench.world.unhealthy.clear()
    refused(office.run(PAUL, "run", transaction), "it does not wait any more, it is rolled-back")


def test_an_expired_approval_is_none(office: Office) -> None:
    transaction = approved(office)
    waiting = office.plan()
    office.bench.world.clock.sleep(73 * 3600)
    refused(office.run(PAUL, "run", transaction), "it has expired at 2026-01-05T")
    refused(office.run(EVA, "approve", waiting, "--reason", "late"), "it has expired at 2026-01-05T")
    refused(office.run(EVA, "approve", waiting, "--reason", "late"), "it is rejected: expired at 2026-01-05T")


def test_an_approval_after_the_run_is_none(office: Office) -> None:
    office.configure()
    transaction = office.plan()
    assert office.run(PAUL, "run", transaction).code == 0
    office.configure(POLICY)
    refused(office.run(EVA, "approve", transaction, "--reason", "afterwards"), "it does not wait any more")


def test_a_configuration_that_was_edited_after_the_approval_makes_another_plan(office: Office) -> None:
    transaction = approved(office)
    office.configure(POLICY + '[jail.web.environment]\nLD_PRELOAD = "/evil.so"\n')
    printed = office.run(PAUL, "run", transaction)
    refused(printed, "web is not as it was when it was planned: after.deployment.jail.environment")
    assert "evil" not in printed.err


def test_a_file_that_the_plan_names_is_part_of_what_was_approved(office: Office) -> None:
    settings, files = "/etc/rootswap/web.lxc", office.bench.world.files
    files[settings] = b"lxc.prlimit.nofile = 1024\n"
    text = office.bench.config.read_text().replace("[jail.web]\n", f'[jail.web]\nsettings = "{settings}"\n')
    office.bench.configure(text)
    changed, same = approved(office), approved(office)
    files[settings] += b"lxc.cap.drop =\n"
    refused(office.run(PAUL, "run", changed), f"{settings} was changed since it was planned")
    files[settings] = b"lxc.prlimit.nofile = 1024\n"
    assert office.run(PAUL, "run", same).code == 0


def test_a_policy_that_was_relaxed_after_the_planning_does_not_let_the_plan_through(office: Office) -> None:
    transaction = office.plan()
    office.configure()
    refused(office.run(PAUL, "run", transaction), "nobody has approved it yet")


def test_self_approval_has_to_be_allowed_both_when_it_is_planned_and_when_it_is_approved_and_run(
    office: Office,
) -> None:
    relaxed = POLICY + "self_approval = true\n"
    strict = office.plan()
    office.configure(relaxed)
    refused(office.run(PAUL, "approve", strict, "--reason", "alone"), "somebody else has to approve it")
    loose, approved_loose = office.plan(), office.plan()
    assert office.run(PAUL, "approve", approved_loose, "--reason", "alone").code == 0
    office.configure(POLICY)
    refused(office.run(PAUL, "approve", loose, "--reason", "alone"), "somebody else has to approve it")
    refused(office.run(PAUL, "run", approved_loose), "which the policy does not allow any more")


def test_a_release_that_was_changed_under_its_name_is_not_run(office: Office) -> None:
    transaction = approved(office)
    release = office.bench.run("release", "list", "--json").data[-1]["release"]
    office.bench.world.state[f"release:{release}"] = "something else"
    refused(office.run(PAUL, "run", transaction), "it was changed after it was taken")


def test_a_jail_that_was_stopped_by_hand_after_the_approval_makes_another_plan(office: Office) -> None:
    transaction = approved(office)
    del office.bench.world.state["jail:web"]
    printed = office.run(PAUL, "run", transaction)
    refused(printed, "web is not as it was when it was planned: steps")


def test_a_record_that_claims_an_approval_is_refused_by_the_ledger(office: Office) -> None:
    """Whoever calls the engine from a program of his own meets the lifecycle."""
    transaction = office.plan()
    forged = Authority(
        basis="second-person", by=PAUL, window=WindowState(state="unrestricted"), planned_by=PAUL, approved_by=EVA
    )
    with office.at(PAUL), office.bench.open() as session:
        plan, _ = session.proposals.ready(transaction)
        session.engine._gate = lambda _plan, purpose: purpose.model_copy(update={"authority": forged})
        with pytest.raises(IllegalEvent, match="the plan was not approved"):
            session.engine.execute(plan, Purpose())
        fresh = plan.model_copy(update={"transaction": "zzzz0001"})
        with pytest.raises(IllegalEvent, match="it claims an approval, and never waited for one"):
            session.engine.execute(fresh, Purpose())


def test_the_engine_itself_asks_whatever_verb_calls_it(office: Office) -> None:
    """The gate is in the engine: a verb that forgets it is refused as well."""
    with office.at(PAUL), office.bench.open() as session:
        plan = session.requests.upgrade("web", None)
        assert plan is not None
        with pytest.raises(Refused):
            session.engine.execute(plan, Purpose())


def test_a_plan_is_not_run_on_a_target_where_something_is_open(office: Office) -> None:
    transaction = approved(office)
    office.bench.gate = _kill_at("before moving mount")
    with pytest.raises(_Killed):
        office.run(PAUL, "upgrade", "web", "--emergency", "--reason", "now")
    office.bench.gate = None
    printed = office.run(PAUL, "run", transaction)
    assert (printed.code, "is open" in printed.err) == (75, True)
    assert office.run(PAUL, "recover").code == 0
    refused(office.run(PAUL, "run", transaction), "has changed web since it was planned")


def test_an_emergency_that_was_killed_is_recovered_and_then_answered_for(office: Office) -> None:
    office.bench.gate = _kill_at("before moving mount")
    with pytest.raises(_Killed):
        office.run(PAUL, "upgrade", "web", "--emergency", "--reason", "now")
    office.bench.gate = None
    transaction = office.bench.run("tx", "list", "--open", "--json").data[0]["transaction"]
    refused(office.run(EVA, "approve", transaction, "--reason", "yes"), "it is still forward")
    assert office.run(PAUL, "recover").code == 0
    assert office.run(EVA, "approve", transaction, "--reason", "yes").code == 0


def test_a_plan_that_was_killed_after_it_had_begun_is_recovered_like_any_other(office: Office) -> None:
    transaction = approved(office)
    office.bench.gate = _kill_at("before moving mount")
    with pytest.raises(_Killed):
        office.run(PAUL, "run", transaction)
    office.bench.gate = None
    assert office.run(PAUL, "recover").code == 0
    assert office.bench.run("tx", "list", "--open").out == "no transaction is open\n"
    assert office.begun(transaction).authority is not None


def test_no_verb_but_the_engines_own_begins_a_transaction() -> None:
    """Who adds a verb that writes transaction.begun by other means has to think of the gate."""
    found = subprocess.run(
        ["grep", "-rln", "TransactionBegun.model_validate\\|[=( ]TransactionBegun([^)]", "commands"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["commands/transactions/engine.py"]


class _Killed(BaseException):
    """The process dies here."""


def _kill_at(point: str) -> Callable[[str], None]:
    def gate(now: str) -> None:
        if now.startswith(point):
            raise _Killed(now)

    return gate

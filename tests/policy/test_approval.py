"""One plans, another approves, and what is run is what was approved."""

import pytest
from freezegun import freeze_time

from tests.policy.conftest import EVA, PAUL, POLICY, Office


def test_paul_plans_eva_approves_and_paul_runs(office: Office) -> None:
    before = office.release
    printed = office.run(PAUL, "plan", "web", "--reason", "CVE-2026-1", "--ticket", "OPS-7")
    assert printed.code == 0
    assert "---- the downtime begins here ----\n   2  stop web" in printed.out
    transaction = office.bench.run("plans", "--json").data[0]["transaction"]
    assert f"another login: rootswap approve {transaction}" in printed.out
    assert office.release == before
    assert "approved by eva" not in office.bench.run("plans", transaction).out
    approved = office.run(EVA, "approve", transaction[:4], "--reason", "tested on staging")
    assert approved.out == f"plan {transaction} (upgrade of web) is approved; next: rootswap run {transaction}\n"
    printed = office.run(PAUL, "run", transaction)
    assert printed.code == 0
    assert office.release != before
    begun = office.begun(transaction)
    authority = begun.authority
    assert authority is not None
    assert (authority.basis, authority.by, authority.planned_by, authority.approved_by) == (
        "second-person", PAUL, PAUL, EVA
    )  # fmt: skip
    assert (authority.window.state, authority.settle_by) == ("unrestricted", None)
    assert begun.approval is not None
    assert (begun.approval.by, begun.approval.meaning) == ("eva", "tested on staging")
    assert (begun.reason, begun.ticket) == ("CVE-2026-1", "OPS-7")
    assert [record.type for record in office.records(transaction)][:4] == [
        "transaction.planned", "approval.given", "transaction.begun", "step.started"
    ]  # fmt: skip
    assert office.bench.run("plans").out == "nothing waits\n"


@pytest.mark.parametrize(
    ("words", "plan"),
    [
        (["upgrade", "web"], "web"),
        (["upgrade", "mail"], "mail"),
        (["upgrade", "web", "mail"], "web"),
        (["upgrade", "web", "mail", "--parallel"], "web"),
        (["rollback", "web"], "web --rollback"),
        (["jail", "stop", "web"], "web --stop"),
    ],
)
def test_whatever_changes_a_jail_is_refused_without_a_plan(office: Office, words: list[str], plan: str) -> None:
    office.configure()
    office.bench.run("upgrade", "web")
    office.bench.run("template", "upgrade", "debian")
    office.configure(POLICY)
    before = dict(office.bench.world.state)
    printed = office.run(PAUL, *words)
    assert printed.code == 1
    assert "the policy wants the approval of a second person" in printed.err
    assert f"plan it with `rootswap plan {plan}`, or go over it with --emergency --reason" in printed.err
    assert office.bench.world.state == before


def test_to_destroy_a_release_and_to_start_a_jail_are_asked_for_as_well(office: Office) -> None:
    office.configure()
    for words in (["upgrade", "web"], ["template", "upgrade", "debian"], ["upgrade", "web"], ["jail", "stop", "web"]):
        assert office.bench.run(*words).code == 0
    oldest = office.bench.run("release", "list", "--json").data[0]["release"]
    office.configure(POLICY)
    assert office.run(PAUL, "jail", "start", "web").code == 1
    printed = office.run(PAUL, "release", "destroy", oldest, "-y")
    assert (printed.code, f"rootswap plan {oldest} --destroy" in printed.err) == (1, True)
    for words in (["web", "--start"], [oldest, "--destroy"]):
        transaction = office.plan(PAUL, *words)
        assert office.run(EVA, "approve", transaction, "--reason", "yes").code == 0
        assert office.run(EVA, "run", transaction).code == 0
    assert f"release:{oldest}" not in office.bench.world.state
    assert "jail:web" in office.bench.world.state


def test_what_changes_no_jail_is_not_asked_for(office: Office) -> None:
    assert office.run(PAUL, "template", "upgrade", "debian").code == 0
    assert office.run(PAUL, "init").code == 0
    assert office.run(PAUL, "upgrade", "web", "-n").code == 0
    office.configure()
    office.bench.run("upgrade", "web")
    office.configure(POLICY)
    assert office.run(PAUL, "upgrade", "web").out == "nothing to do\n"
    assert office.run(PAUL, "upgrade", "web", "web2").code == 2


def test_recovery_is_never_asked(office: Office) -> None:
    office.configure(POLICY + '[policy.freezes.ever]\nbegins = 2020-01-01T00:00:00Z\nends = 2030-01-01T00:00:00Z\n'
                     'reason = "never"\n')  # fmt: skip
    before = office.release
    office.bench.world.reboot()
    office.bench.world.state["mount:pool"] = "pool"
    printed = office.run(PAUL, "recover", "--json")
    assert (printed.code, office.release) == (0, before)
    restored = next(one for one in printed.data["restored"] if one["target"] == "jail:web")
    authority = office.begun(restored["transaction"]).authority
    assert authority is not None
    assert authority.basis == "recovery"


def test_a_plan_is_rejected_by_anybody_and_with_a_reason(office: Office) -> None:
    mine, yours = office.plan(), office.plan()
    assert office.run(PAUL, "reject", mine, "--reason", "a mistake").out == (
        f"your own plan {mine} (upgrade of web) is refused\n"
    )
    assert office.run(EVA, "approve", yours, "--reason", "yes").code == 0
    assert office.run(EVA, "reject", yours, "--reason", "on second thoughts").code == 0
    printed = office.run(PAUL, "run", yours)
    assert printed.code == 1
    assert "it is rejected: refused by eva: on second thoughts" in printed.err
    assert office.bench.run("plans").out == "nothing waits\n"
    assert (
        "state:       rejected\ncause:       refused by paul: a mistake\n" in office.bench.run("tx", "show", mine).out
    )


def test_without_a_policy_a_plan_may_be_made_and_run_by_one(office: Office) -> None:
    office.configure()
    transaction = office.plan()
    assert office.run(PAUL, "run", transaction).code == 0
    authority = office.begun(transaction).authority
    assert authority is not None
    assert (authority.basis, authority.planned_by) == ("none-required", PAUL)


def test_where_the_policy_allows_it_one_approves_oneself_and_the_log_says_so(office: Office) -> None:
    office.configure(POLICY + "self_approval = true\n")
    transaction = office.plan()
    printed = office.run(PAUL, "approve", transaction, "--reason", "alone on duty", "--json")
    assert (printed.code, printed.data["basis"]) == (0, "self")
    assert office.run(PAUL, "run", transaction).code == 0
    authority = office.begun(transaction).authority
    assert authority is not None
    assert (authority.basis, authority.approved_by) == ("self", PAUL)


def test_a_jail_may_want_more_or_less_than_the_others(office: Office) -> None:
    office.configure(POLICY + "[jail.mail.policy]\nrequire_approval = false\n")
    assert office.run(PAUL, "upgrade", "web").code == 1
    assert office.run(PAUL, "upgrade", "mail").code == 0
    office.configure("[jail.mail.policy]\nrequire_approval = true\n")
    assert office.run(PAUL, "upgrade", "web", "mail").code == 0  # mail is as wanted
    assert office.run(PAUL, "jail", "stop", "mail").code == 1


def test_several_jails_are_all_asked_for_before_the_first_is_touched(office: Office) -> None:
    office.configure("[jail.mail.policy]\nrequire_approval = true\n")
    before = office.release
    assert office.run(PAUL, "upgrade", "web", "mail").code == 1
    assert office.release == before


def test_plans_and_status_show_what_waits(office: Office) -> None:
    transaction = office.plan()
    with freeze_time("2026-01-03"):
        [line] = office.bench.run("plans", "--json").data
        shown = office.bench.run("status")
    assert (shown.code, f"{transaction}  upgrade of jail:web, planned by paul, waits for approval" in shown.out) == (
        0, True
    )  # fmt: skip
    assert f'→ another login: rootswap approve {transaction} --reason "…"' in shown.out
    assert (line["transaction"], line["state"], line["by"], line["reason"]) == (
        transaction, "planned", "paul", "CVE-2026-1"
    )  # fmt: skip
    one = office.bench.run("plans", transaction[:3])
    assert "---- the downtime begins here ----\n   2  stop web" in one.out
    assert len(office.bench.run("plans", transaction, "--json").data["plan"]["steps"]) == 6
    assert office.bench.run("plans", "-o", "csv").out.startswith("transaction,kind,target,state,by,")
    with freeze_time("2026-01-06"):
        assert f"{transaction}  upgrade of jail:web, planned by paul, has expired" in office.bench.run("status").out
    assert office.bench.run("status", "--json").data["waiting"][0]["transaction"] == transaction
    assert office.bench.run("tx", "list", "--limit", "3").code == 0
    assert office.bench.run("plans", "zz").code == 2


def test_help_is_there_for_every_verb(office: Office) -> None:
    for verb in ("plan", "plans", "approve", "reject", "run"):
        printed = office.bench.run(verb, "--help")
        assert (printed.code, "Example: rootswap " in printed.out) == (0, True)


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "nowhere"],
        ["plan", "web", "--rollback", "--stop"],
        ["plan", "web", "--to", "debian@00000000"],
        ["approve", "zzzz", "--reason", "x"],
        ["approve", "", "--reason", "x"],
        ["approve", "../x", "--reason", "x"],
        ["reject", "zzzz", "--reason", "x"],
        ["run", "zzzz"],
        ["approve"],
    ],
)
def test_2_for_what_makes_no_sense(office: Office, words: list[str]) -> None:
    assert office.run(PAUL, *words).code == 2


def test_as_many_transactions_are_listed_as_were_asked_for_whatever_was_never_begun(office: Office) -> None:
    assert office.run(PAUL, "reject", office.plan(), "--reason", "a mistake").code == 0
    assert len(office.run(PAUL, "tx", "list", "--limit", "2", "--json").data) == 2

"""An emergency goes over the policy at once, says so for ever, and owes an approval."""

from datetime import UTC, datetime

import pytest
from freezegun import freeze_time

from ledger.authority import Authority
from tests.policy.conftest import EVA, PAUL, POLICY, Office

WINDOW = """
[policy]
time_zone = "Europe/Amsterdam"

[policy.windows.night]
opens = "22:00"
closes = "04:00"
days = ["sat"]
"""
FREEZE = """
[policy.freezes.sales]
begins = 2026-01-01T00:00:00Z
ends = 2026-01-05T06:00:00Z
reason = "the sales are on"
"""


def authority(office: Office, transaction: str) -> Authority:
    found = office.begun(transaction).authority
    assert found is not None
    return found


def emergency(office: Office, *words: str) -> str:
    """An emergency of Paul's."""
    printed = office.run(PAUL, *words, "--emergency", "--reason", "the site is down", "--json")
    assert printed.code == 0, printed.err
    transaction: str = printed.data["transactions"][0]["transaction"]
    return transaction


def test_a_rollback_at_three_in_the_morning_runs_at_once_and_is_approved_later(office: Office) -> None:
    office.configure()
    before = office.release
    office.bench.run("upgrade", "web")
    office.configure(POLICY + FREEZE)
    transaction = emergency(office, "rollback", "web")
    assert office.release == before
    found = authority(office, transaction)
    assert (found.basis, found.by, found.window.state, found.window.name) == ("emergency", PAUL, "frozen", "sales")
    assert found.settle_by is not None
    due = datetime.fromisoformat(found.settle_by)
    assert due - datetime(2026, 1, 4, 3, 4, tzinfo=UTC) < (due - due).__class__(minutes=5)  # 48 hours after
    with freeze_time("2026-01-03"):
        [line] = office.bench.run("plans", "--json").data
        assert (line["transaction"], line["state"], line["by"]) == (transaction, "owed", "paul")
    with freeze_time("2026-01-08"):
        assert office.bench.run("plans", "--json").data[0]["state"] == "overdue"
        shown = office.bench.run("status")
        assert f"{transaction}  rollback of jail:web was an emergency of paul, not approved yet, overdue" in shown.out
    assert office.run(PAUL, "approve", transaction, "--reason", "it was me").code == 1
    answered = office.run(EVA, "approve", transaction, "--reason", "rightly so")
    assert answered.out == f"emergency {transaction} (rollback of web) is approved\n"
    assert office.bench.run("plans").out == "nothing waits\n"
    last = office.records(transaction)[-1]
    assert last.type == "approval.given"
    assert office.run(EVA, "approve", transaction, "--reason", "again").code == 1


def test_a_late_answer_says_that_it_is_late(office: Office) -> None:
    transaction = emergency(office, "upgrade", "web")
    clock = office.bench.world.clock
    clock.sleep(49 * 3600)
    printed = office.run(EVA, "approve", transaction, "--reason", "was on holiday", "--json")
    assert (printed.code, printed.data["late"], printed.data["retroactive"]) == (0, True, True)


def test_an_emergency_can_be_disapproved_and_then_stays_unapproved(office: Office) -> None:
    transaction = emergency(office, "jail", "stop", "web")
    printed = office.run(EVA, "reject", transaction, "--reason", "there was no need")
    assert printed.out == f"emergency {transaction} (stop of web) is refused\n"
    assert office.bench.run("plans").out == "nothing waits\n"
    assert office.records(transaction)[-1].approval is None
    assert "jail:web" not in office.bench.world.state


@pytest.mark.parametrize("reason", [[], ["--reason", ""], ["--reason", "  "]])
def test_an_emergency_needs_a_reason(office: Office, reason: list[str]) -> None:
    before = dict(office.bench.world.state)
    printed = office.run(PAUL, "upgrade", "web", "--emergency", *reason)
    assert (printed.code, "cannot go over the policy without a reason" in printed.err) == (2, True)
    assert office.bench.world.state == before


def test_an_emergency_where_nothing_stands_in_the_way_is_none(office: Office) -> None:
    office.configure()
    found = authority(office, emergency(office, "upgrade", "web"))
    assert (found.basis, found.settle_by) == ("none-required", None)


def test_outside_of_its_window_a_change_is_refused_with_the_next_one_and_an_emergency_is_logged_so(
    office: Office,
) -> None:
    office.configure(WINDOW)  # the clock of the bench shows a Friday, 2026-01-02 04:04 in Amsterdam
    printed = office.run(PAUL, "upgrade", "web")
    assert printed.code == 1
    assert "cannot upgrade web: it is outside of the maintenance windows; " in printed.err
    assert "the next window opens at 2026-01-03T22:00+01:00" in printed.err
    assert "--emergency" in printed.err
    found = authority(office, emergency(office, "upgrade", "web"))
    assert (found.basis, found.window.state, found.window.next) == (
        "emergency", "outside", "2026-01-03T22:00+01:00"
    )  # fmt: skip


def test_inside_of_its_window_a_change_says_which_one_it_was(office: Office) -> None:
    office.configure(WINDOW.replace('["sat"]', '["thu"]').replace("04:00", "05:00"))
    assert office.run(PAUL, "upgrade", "web").code == 0
    transaction = office.bench.run("tx", "list", "--json", "--limit", "1").data[0]["transaction"]
    found = authority(office, transaction)
    assert (found.basis, found.window.state, found.window.name) == ("none-required", "inside", "night")


def test_a_freeze_is_refused_with_its_reason_and_its_end(office: Office) -> None:
    office.configure(FREEZE)
    printed = office.run(PAUL, "upgrade", "web")
    assert printed.code == 1
    assert "changes are frozen (sales: the sales are on)" in printed.err
    assert "changes are allowed again from 2026-01-05T06:00+00:00 on" in printed.err


def test_a_jail_may_have_windows_of_its_own_none_at_all_and_a_freeze_of_its_own(office: Office) -> None:
    office.configure(WINDOW + "[jail.web.policy]\nanytime = true\n")
    assert office.run(PAUL, "upgrade", "web").code == 0
    assert office.run(PAUL, "upgrade", "mail").code == 1
    office.configure(WINDOW + '[jail.mail.policy.windows.noon]\nopens = "11:00"\ncloses = "13:00"\n')
    assert "2026-01-02T11:00+01:00" in office.run(PAUL, "upgrade", "mail").err
    office.configure(FREEZE.replace("policy.freezes", "jail.web.policy.freezes"))
    assert office.run(PAUL, "jail", "stop", "web").code == 1
    assert office.run(PAUL, "upgrade", "mail").code == 0


def test_an_approved_plan_waits_for_its_window_or_is_run_as_an_emergency(office: Office) -> None:
    office.configure(POLICY + WINDOW.removeprefix("\n[policy]"))
    transaction = office.plan()
    assert office.run(EVA, "approve", transaction, "--reason", "yes").code == 0
    printed = office.run(PAUL, "run", transaction)
    assert (printed.code, "the next window opens at 2026-01-03T22:00+01:00" in printed.err) == (1, True)
    office.bench.world.clock.sleep(42 * 3600)  # Saturday, 22:04 in Amsterdam
    assert office.run(PAUL, "run", transaction).code == 0
    found = authority(office, transaction)
    assert (found.basis, found.window.state) == ("second-person", "inside")


def test_an_emergency_run_of_a_plan_says_who_had_planned_and_approved_it(office: Office) -> None:
    office.configure(POLICY + FREEZE)
    transaction = office.plan()
    assert office.run(EVA, "approve", transaction, "--reason", "yes").code == 0
    assert office.run(PAUL, "run", transaction, "--emergency", "--reason", "cannot wait").code == 0
    found = authority(office, transaction)
    assert (found.basis, found.planned_by, found.approved_by) == ("emergency", PAUL, EVA)
    assert office.begun(transaction).reason == "cannot wait"
    assert office.run(EVA, "approve", transaction, "--reason", "and over the freeze").code == 0


def test_to_destroy_a_release_needs_no_window(office: Office) -> None:
    office.configure()
    for words in (["upgrade", "web"], ["template", "upgrade", "debian"], ["upgrade", "web"]):
        assert office.bench.run(*words).code == 0
    oldest = office.bench.run("release", "list", "--json").data[0]["release"]
    office.configure(WINDOW)
    assert office.run(PAUL, "release", "destroy", oldest, "-y").code == 0

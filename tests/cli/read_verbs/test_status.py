"""``status``, and what all read verbs say to those who cannot be answered."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.cli.read_verbs.stories import Run, ask, crash_in_the_middle, data, get_stuck, leave, upgrade
from tests.site import FakeClock, Site


def test_status_shows_pool_templates_and_jails(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    code, out, _ = run("status")
    assert code == 0
    assert out.startswith("pool: /memory/pool, ")
    web = next(line for line in out.splitlines() if line.startswith("web "))
    assert "debian@00000003" in web and "running" in web and "upgrade 00000004 committed" in web and " ms" in web
    assert "+02:00" in web
    assert "mail  not deployed yet: rootswap upgrade mail" in out
    assert "(!)" not in out


def test_status_for_machines(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    found: dict = data(run("status", "-o", "json"))  # type: ignore[assignment]
    assert (found["stuck"], found["open"], found["not_deployed"]) == (False, [], ["mail"])
    (web,) = found["jails"]
    assert (web["release"], web["running"], web["state"], web["mismatch"]) == ("debian@00000003", True, "running", None)
    assert web["last_downtime_ns"] > 0
    assert found["templates"][0]["release"] == "debian@00000003"
    assert found["pool"]["path"] == "/memory/pool"


def test_status_marks_a_jail_that_is_not_as_recorded(site: Site, run: Run) -> None:
    site.world.drop("jail:web")
    code, out, _ = run("status")
    assert code == 0
    assert "stopped (!)" in out
    assert "(!) web: it is stopped, the ledger says running → rootswap recover" in out


def test_status_marks_a_root_that_is_not_the_recorded_one(site: Site, run: Run) -> None:
    root = f"mount:{site.config.state_directory}/jails/web/root"
    site.world.put(root, "somebody else's")
    path = root.removeprefix("mount:")
    told = f"another root than debian@00000001 is mounted at {path} → umount {path} && rootswap recover\n"
    assert told in run("status")[1]
    site.world.put("jail:web", "somebody else's")
    stop, start = "rootswap jail stop web", "rootswap jail start web"
    assert f"→ {stop} && umount {path} && rootswap recover && {start}\n" in run("status")[1]
    site.world.drop(root)
    assert "nothing is mounted at" in run("status")[1]


def test_status_says_what_it_did_not_ask(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(monkeypatch, None)
    code, out, _ = run("status")
    assert code == 0
    assert "running (not asked)" in out


def test_status_sends_an_interrupted_transaction_to_recover(site: Site, run: Run) -> None:
    crash_in_the_middle(site)
    code, out, _ = run("status")
    assert code == 0
    first, second, *_ = out.splitlines()
    assert first.startswith("00000004  upgrade of jail:web is unfinished, begun ")
    assert second == "  → rootswap recover"
    assert "a transaction is open on it" in out


def test_status_sends_a_running_transaction_to_watch(site: Site, run: Run) -> None:
    crash_in_the_middle(site)
    with site.session():
        assert "is at work: `rootswap tx watch 00000004`" in run("status")[1]


@pytest.mark.parametrize("story", [crash_in_the_middle, get_stuck])
def test_status_and_doctor_name_the_same_remedy(site: Site, run: Run, story: Callable[[Site], None]) -> None:
    story(site)
    remedy = next(line for line in run("status")[1].splitlines() if line.startswith("  → "))[4:]
    told = run("doctor")[1].splitlines()
    at = next(n for n, line in enumerate(told) if line.startswith("transactions "))
    assert told[at + 1] == f"  remedy: {remedy}"
    at = next(n for n, line in enumerate(told) if line.startswith("jail web "))
    assert told[at + 1] == "  remedy: a transaction is open on it"
    assert "…" not in remedy.replace('"…"', "")


def test_status_exits_with_3_when_a_person_must_decide(site: Site, run: Run) -> None:
    get_stuck(site)
    code, out, _ = run("status")
    assert code == 3
    assert "somebody else's root is mounted" in out.splitlines()[0]
    assert "rootswap resolve 00000004" in out.splitlines()[1]
    assert data(run("status", "--json"), code=3)["stuck"] is True  # type: ignore[call-overload]
    assert run("status", "-o", "csv")[0] == 3


def test_a_plan_that_waits_is_not_what_happened_last(site: Site, run: Run) -> None:
    plan = site.approve(upgrade)
    leave(site)
    jail = data(run("status", "--json"))["jails"][0]  # type: ignore[call-overload]
    assert jail["last_transaction"] == "00000002"
    assert plan in run("status")[1]
    assert plan not in run("tx", "list")[1]
    assert [line["transaction_id"] for line in data(run("audit", "open", "--json"))] == [plan]
    assert plan not in run("audit", "population")[1]


def test_without_a_ledger_one_sentence_says_what_to_do(run: Run) -> None:
    for words in (("status",), ("tx", "list"), ("audit", "log"), ("release", "list")):
        code, out, err = run(*words)
        assert (code, out) == (78, "")
        assert "there is none" in err and "rootswap init" in err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_not_read_the_ledger_is_told_so(site: Site, run: Run, config: Path) -> None:
    verbs = (("status",), ("tx", "list"), ("tx", "show", "00000001"), ("audit", "log"), ("jail", "list"))
    for words in verbs:
        assert run(*words)[0] == 0, "and everything is imported, from where nobody can read"
    way = takewhile(lambda directory: directory != Path(gettempdir()), config.parents)
    for directory in (*way, site.directory.parent):
        directory.chmod(0o711)
    try:
        os.seteuid(65534)
        answers = [run(*words) for words in verbs]
    finally:
        os.seteuid(0)
    for code, out, err in answers:
        assert (code, out) == (77, "")
        assert "as this user" in err and "sudo" in err


def test_a_plan_whose_target_was_changed_since_is_not_offered_to_be_run(site: Site, run: Run) -> None:
    assert isinstance(site.world.clock, FakeClock)
    site.world.clock.moment = datetime.now(UTC)  # as the command line has it, else the plan has expired
    plan = site.approve(upgrade)
    leave(site)
    assert f"→ rootswap run {plan}\n" in run("status")[1]
    site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    leave(site)
    told = run("status")[1]
    assert f"rootswap run {plan}" not in told
    assert "cannot be run any more: transaction " in told and " has changed web since" in told
    assert f'→ rootswap reject {plan} --reason "stale"\n' in told
    (waiting,) = data(run("plans", "--json"))
    assert (waiting["state"], waiting["overtaken_by"] is not None) == ("stale", True)

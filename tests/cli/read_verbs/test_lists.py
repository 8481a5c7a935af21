"""``template list``, ``release list``, ``jail list`` and ``volume list``; and nothing at all, and something newer."""

import os
from pathlib import Path

import pytest

from commands.cli import reading
from commands.config import load
from commands.errors import Refused, UsageError
from ledger.events import OperatorDecided, TransactionCommitted
from ledger.reader import LedgerReader
from tests.cli.read_verbs.stories import Run, ask, data, get_stuck, upgrade
from tests.ledger.attacks import forge
from tests.ledger.fakes import TX, create, whole_upgrade
from tests.site import Script, Site, fail


def test_release_list_tells_who_needs_a_release(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    old, new = data(run("release", "list", "--json"))
    assert (old["release"], old["used_by"], old["held_for"]) == ("debian@00000001", [], ["web"])
    assert (new["release"], new["used_by"], new["held_for"]) == ("debian@00000003", ["web"], [])
    assert (new["state"], new["taken_by"]) == ("present", "00000003")
    assert "debian@00000001  present" in run("release", "list")[1]
    assert data(run("release", "list", "--json", "--template", "debian")) == [old, new]
    assert run("release", "list", "--template", "nope")[0] == 2


def test_release_list_leaves_out_what_is_gone_unless_asked(site: Site, run: Run) -> None:
    site.run(lambda session: session.requests.upgrade_template("debian", None)).raise_unless_committed()
    site.run(lambda session: session.requests.destroy_release("debian@00000003")).raise_unless_committed()
    kept = {"debian@00000001", "debian@00000004"}
    assert {item["release"] for item in data(run("release", "list", "--json"))} == kept
    states = {item["release"]: item["state"] for item in data(run("release", "list", "--all", "--json"))}
    assert states == {**dict.fromkeys(kept, "present"), "debian@00000003": "retired"}


def test_a_release_that_was_destroyed_behind_our_back_is_told_and_struck_off(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    site.run(lambda session: session.requests.upgrade_template("debian", None)).raise_unless_committed()
    site.run(upgrade).raise_unless_committed()
    hint = "(!) debian@00000001 is {}: rootswap did not destroy it → rootswap release destroy debian@00000001\n"
    for left, word in (("building", "damaged"), ("foreign", "foreign"), (None, "gone")):
        site.world.state.pop("release:debian@00000001", None)
        if left is not None:
            site.world.state["release:debian@00000001"] = left
        code, out, err = run("release", "list")
        assert (code, out.splitlines()[1].split()[1], err) == (0, word, hint.format(word))
    with site.session() as session, pytest.raises(Refused, match="gone from the pool, and was not destroyed by"):
        session.requests.upgrade("web", "debian@00000001")
    outcome = site.run(lambda session: session.requests.destroy_release("debian@00000001"))
    assert outcome.state == "committed"
    told = {item["release"]: item["state"] for item in data(run("release", "list", "--all", "--json"))}
    assert told.pop("debian@00000001") == "retired" and set(told.values()) == {"present"}
    with site.session() as session, pytest.raises(UsageError, match="cannot find release"):
        session.requests.destroy_release("debian@00000001")


def test_what_is_foreign_in_the_place_of_a_release_is_not_destroyed(site: Site) -> None:
    site.run(upgrade).raise_unless_committed()
    site.run(lambda session: session.requests.upgrade_template("debian", None)).raise_unless_committed()
    site.world.state["release:debian@00000001"] = "foreign"
    with site.session() as session, pytest.raises(Refused, match="what is in its place is not ours"):
        session.requests.destroy_release("debian@00000001")


def test_jail_list_tells_of_a_rollback_target_that_is_gone(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    del site.world.state["release:debian@00000001"]
    code, _, err = run("jail", "list")
    assert (code, err.startswith("(!) debian@00000001 is gone")) == (0, True)


def test_template_and_jail_list_show_what_is_there_and_what_is_only_configured(site: Site, run: Run) -> None:
    (template,) = data(run("template", "list", "--json"))
    assert (template["template"], template["head"], template["release"]) == ("debian", "00000003", "debian@00000003")
    assert template["jails"] == []
    mail, web = data(run("jail", "list", "--json"))
    assert (mail["jail"], mail["release"], mail["running"]) == ("mail", None, None)
    assert (web["release"], web["template"], web["by"], web["past"]) == ("debian@00000001", "debian", "00000002", [])
    assert "not deployed yet: rootswap upgrade mail" in run("jail", "list")[1]
    site.run(upgrade).raise_unless_committed()
    assert data(run("jail", "list", "--json"))[1]["past"] == ["debian@00000001"]
    assert data(run("template", "list", "--json"))[0]["jails"] == ["web"]


def test_volume_list_shows_volumes_and_what_was_kept_of_them(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    assert (
        site.run(
            lambda session: session.requests.rollback("web"),
            Script(strike_at=1, strike=fail, only="before moving mount"),
        ).state
        == "rolled-back"
    )
    volume, kept, unwound = data(run("volume", "list", "web", "--json"))
    assert (volume["kind"], volume["volumes"], volume["state"]) == ("volume", ["log"], "in use")
    assert (kept["transaction"], kept["state"], kept["volumes"]) == ("00000004", "kept", ["log"])
    assert (unwound["transaction"], unwound["state"]) == ("00000005", "unwound")
    assert kept["taken_at"] < unwound["taken_at"] and kept["path"]
    assert data(run("volume", "list", "--json")) == [volume, kept, unwound]
    assert run("volume", "list", "nope")[0] == 2


def test_volume_list_needs_root(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(monkeypatch, None)
    assert run("volume", "list")[0] == 77


def test_where_there_is_nothing_a_sentence_helps_on(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(f'state_directory = "{config.parent / "state"}"\n')
    site = Site(config.parent / "state" / "ledger", load(str(config)).config)
    with site.session():
        pass
    ask(monkeypatch, site.world.drivers())
    assert "not created yet: rootswap init" in run("status")[1]
    for noun, told in {
        "tx": "no transactions yet",
        "template": "no templates",
        "release": "no releases",
        "jail": "no jails",
        "volume": "no volumes",
    }.items():
        code, out, _ = run(noun, "list")
        assert code == 0
        assert out.startswith(told) and out.count("\n") == 1
        assert data(run(noun, "list", "--json")) == []
    assert run("tx", "list", "--open")[1] == "no transaction is open\n"
    assert run("tx", "watch", "--latest")[0] == 2


def test_records_of_a_newer_version_do_not_stop_a_reader(run: Run, config: Path) -> None:
    directory = config.parent / "state" / "ledger"
    with create(directory) as ledger:
        ledger.append(TX, *whole_upgrade()[:2])
    forge(directory, {"type": "moon.observed", "event": {"type": "moon.observed", "phase": "full"}})
    for words in (("status",), ("tx", "list"), ("tx", "show", TX), ("audit", "log"), ("release", "list")):
        code, out, err = run(*words)
        assert (code, err) == (0, ""), words
        assert out
    assert "1 records are of a newer rootswap" in run("tx", "show", TX)[1]
    assert "moon observed" in run("audit", "log")[1]


def test_an_engine_is_at_work_while_its_process_lives(site: Site) -> None:
    with LedgerReader.open(site.directory) as reader:
        assert reading.engine_at_work(reader) is None
        with site.session():
            holder = reading.engine_at_work(reader)
            assert holder is not None and holder.pid == os.getpid()
        for nonsense in ("", "{}", "[]", '{"pid": "x"}', "\x00"):
            (site.directory / "lock").write_text(nonsense)
            assert reading.engine_at_work(reader) is None
        (site.directory / "lock").unlink()
        assert reading.engine_at_work(reader) is None


def test_a_decision_is_shown_with_the_one_who_took_it(site: Site, run: Run) -> None:
    get_stuck(site)
    with site.session() as session:
        decision = OperatorDecided(choice="accept-planned", by="eva", why="mounted it myself")
        session.ledger.append("00000004", decision, TransactionCommitted(duration_ns=None, downtime_ns=None))
    out = run("audit", "log", "--tx", "00000004")[1]
    assert "operator decided: accept-planned" in out and "eva: mounted it myself" in out

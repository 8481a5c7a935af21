"""`audit drift`: what the ledger recorded last, held against what each kind of storage says now."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.cli.drift import DriftItem, look
from commands.errors import DriverError
from ledger.reader import LedgerReader
from tests.cli.read_verbs.stories import Run, ask, data
from tests.fakes.site import FreeBsdSite
from tests.recovery.lvm_site import LvmSite
from tests.site import Site

TARGETS = ["pool:main", "template:debian", "release:debian@00000001", "release:debian@00000003", "jail:web"]
FIRST, SECOND = "debian@00000001", "debian@00000003"


def test_no_drift_is_said_and_costs_nothing(site: Site, run: Run) -> None:
    assert run("audit", "drift")[1] == "no drift: 5 targets are as recorded\n"
    assert run("audit", "drift", "--exit-code")[0] == 0
    assert [line["target"] for line in data(run("audit", "drift", "--all", "--json"))] == TARGETS
    lines = run("audit", "drift", "--all", "-o", "jsonl")[1].splitlines()
    assert [json.loads(line)["target"] for line in lines] == TARGETS
    assert run("audit", "drift", "--all", "-o", "csv")[1].splitlines()[0] == ",".join(DriftItem._fields)


def test_a_jail_that_was_stopped_by_hand_is_drift(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    site.world.drop("jail:web")
    ask(monkeypatch, site.world.drivers())
    line = data(run("audit", "drift", "--json"))
    assert [(one["target"], one["found"]) for one in line] == [("jail:web", "stopped")]
    assert "the ledger says running" in line[0]["drift"]
    assert run("audit", "drift", "--exit-code")[0] == 10


def test_a_release_that_is_unknown_is_drift(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = site.world.drivers()
    monkeypatch.setattr(type(drivers.storage), "releases", lambda self: ("debian@zzzzzzzz",))
    ask(monkeypatch, drivers)
    found = {one["target"]: one["drift"] for one in data(run("audit", "drift", "--json"))}
    assert found == {"release:debian@zzzzzzzz": "the ledger does not know of it, or says it is gone"}


def test_who_may_not_ask_the_host_is_told(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(monkeypatch, None)
    assert run("audit", "drift")[0] == 77


# --- each storage ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=[Site, LvmSite, FreeBsdSite], ids=["memory", "lvm", "zfs"])
def host(request: pytest.FixtureRequest, fast_directory: Path) -> Site:
    """Web on the first release; the second one is at hand."""
    make: Callable[[Path], Site] = request.param
    return make(fast_directory / "ledger").settle()


def drifted(site: Site) -> dict[str, str | None]:
    with LedgerReader.open(site.directory) as reader:
        items = look(reader, site.drivers())
    assert [item.target for item in items] == TARGETS
    return {item.target: item.drift for item in items if item.drift}


def test_a_host_as_recorded_has_no_drift_whatever_its_storage(host: Site) -> None:
    assert drifted(host) == {}


def test_a_release_that_is_gone_is_drift_whatever_the_storage(host: Site) -> None:
    host.drivers().storage.destroy_release(SECOND)
    assert drifted(host) == {f"release:{SECOND}": "it is not in the pool"}


def test_a_release_that_was_made_again_is_not_the_one_that_was_taken(
    host: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = type(host.drivers().storage)
    honest = storage.fingerprint
    monkeypatch.setattr(storage, "fingerprint", lambda self, name: honest(self, name) + "x" * (name == SECOND))
    assert drifted(host) == {f"release:{SECOND}": "it was changed after it was taken"}


def test_a_template_whose_head_is_gone_is_drift_whatever_the_storage(host: Site) -> None:
    storage = host.drivers().storage
    ((template, head),) = [one for one in storage.templates() if one[1] == "00000003"]
    storage.destroy_release(SECOND)
    storage.destroy_template(template, head)
    assert drifted(host)["template:debian"] == "the head of the template is absent"


def test_a_driver_that_cannot_tell_of_one_is_asked_of_the_others(host: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, name: str) -> str:
        raise DriverError(f"cannot take the fingerprint of release {name}: the disk is on fire")

    monkeypatch.setattr(type(host.drivers().storage), "fingerprint", refuse)
    assert set(drifted(host)) == {f"release:{FIRST}", f"release:{SECOND}"}

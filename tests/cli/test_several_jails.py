"""An upgrade of several jails: at the end every one of them is accounted for."""

from pathlib import Path

import pytest

from tests.cli.bench import Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = make_bench(tmp_path, capsys, monkeypatch)
    bench.settle()
    assert bench.run("upgrade", "mail").code == 0
    assert bench.run("template", "upgrade", "debian").code == 0
    bench.configure(bench.config.read_text() + '\n[jail.news]\ntemplate = "debian"\ncommand = ["/usr/sbin/nginx"]\n')
    return bench


def spoil(bench: Bench) -> None:
    """Only ``web`` has a health check that can fail."""
    releases = bench.run("release", "list", "-o", "json").data
    bench.world.unhealthy.add(releases[0]["release"])
    bench.world.unhealthy.add(releases[-1]["release"])
    bench.configure(
        bench.config.read_text().replace("health.page.http", "health.page.timeout_s = 0.01\nhealth.page.http")
    )


def test_after_a_failure_each_jail_is_told_what_became_of_it(bench: Bench) -> None:
    spoil(bench)
    printed = bench.run("upgrade", "mail", "web", "news")
    assert printed.code == 1
    assert printed.out.startswith("mail is on debian@")
    told = printed.err.splitlines()
    assert [line for line in told if line[:6] in ("mail  ", "web   ", "news  ")] == [
        "mail  done",
        "web   rolled back",
        "news  not started",
    ]
    assert any("jail:web was rolled back" in line for line in told)


def test_a_refusal_in_the_middle_does_not_hide_what_was_done(bench: Bench) -> None:
    bench.world.drop("jail:web")
    bench.world.put("jail:web", "building")
    printed = bench.run("upgrade", "mail", "web", "news", "-o", "json")
    assert printed.code == 1
    fates = printed.data["jails"]
    assert (fates["mail"], fates["news"]) == ("done", "not started")
    assert fates["web"].startswith("not done: cannot change web: it is half started")
    assert [one["state"] for one in printed.data["transactions"]] == ["committed"]


def test_at_once_every_jail_is_accounted_for_as_well(bench: Bench) -> None:
    assert bench.run("upgrade", "mail").code == 0
    spoil(bench)
    printed = bench.run("upgrade", "mail", "web", "news", "--parallel", "-o", "json")
    assert printed.code == 1
    assert printed.data["jails"] == {"mail": "nothing to do", "web": "rolled back", "news": "done"}

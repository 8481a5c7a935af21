"""A change of the configuration alone: it is called what it is, wherever it is told."""

from pathlib import Path

import pytest

from tests.cli.bench import CONFIG, Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = make_bench(tmp_path, capsys, monkeypatch)
    for words in (["init"], ["template", "build", "debian"], ["upgrade", "web"]):
        assert bench.run(*words).code == 0
    text = CONFIG.format(state=bench.directory / "state")
    bench.configure(text.replace('["/usr/sbin/nginx"]', '["/usr/sbin/nginx", "-q"]\nstop_timeout_s = 3'))
    return bench


def test_a_change_of_the_configuration_alone_is_called_so_before_and_after(bench: Bench) -> None:
    stays = "the release stays; the configuration changes: command, stop_timeout_s"
    assert stays in bench.run("upgrade", "web", "-n").out
    (plan,) = bench.run("upgrade", "web", "-n", "-o", "json").data["plans"]
    assert plan["changed_settings"] == ["command", "stop_timeout_s"]
    assert ", with a new configuration (command, stop_timeout_s), down for" in bench.run("upgrade", "web").out
    listed = next(line for line in bench.run("jail", "list").out.splitlines() if line.startswith("web "))
    assert listed.endswith("configuration only")
    assert stays in bench.run("rollback", "web", "-n").out
    told = bench.run("rollback", "web").out
    assert told.startswith("web stays on debian@") and "with its former configuration again (command, stop" in told
    changes = [line for line in bench.run("tx", "list").out.splitlines() if ", configuration only" in line]
    assert [line.split()[1] for line in changes] == ["rollback", "upgrade"]


def test_a_change_of_the_release_is_not_called_one_of_the_configuration(bench: Bench) -> None:
    assert bench.run("template", "upgrade", "debian").code == 0
    assert "the release stays" not in bench.run("upgrade", "web", "-n").out
    assert bench.run("upgrade", "web").out.startswith("web is on debian@")
    assert "configuration only" not in bench.run("jail", "list").out + bench.run("tx", "list").out

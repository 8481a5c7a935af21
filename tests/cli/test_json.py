"""``-o json`` prints one envelope on stdout, whatever happens, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands.cli import format_of
from commands.cli.output import Format
from commands.drivers.memory import MemoryWorld
from commands.errors import DriverError
from tests.cli.bench import Bench

ROOT = Path(__file__).parents[2]


def test_a_success_is_an_envelope_with_data(bench: Bench) -> None:
    bench.settle()
    printed = bench.run("upgrade", "web", "-o", "json", "--reason", "CVE")
    assert set(printed.envelope) == {"schema", "ok", "data", "error"}
    assert (printed.envelope["schema"], printed.envelope["ok"], printed.envelope["error"]) == ("rootswap/1", True, None)
    done = printed.data["transactions"][0]
    assert (done["kind"], done["target"], done["state"]) == ("upgrade", "jail:web", "committed")
    assert done["downtime_ns"] > 0
    assert f"[web {done['transaction']}] 1/6 stage_root … done" in printed.err


def test_nothing_to_do_says_so(bench: Bench) -> None:
    bench.settle()
    bench.run("upgrade", "web")
    assert bench.run("upgrade", "web", "--json").data == {"changed": False, "transactions": []}


def test_a_dry_run_lists_every_step_with_its_undo(bench: Bench) -> None:
    bench.settle()
    before = dict(bench.world.state)
    plan = bench.run("upgrade", "web", "-n", "--json").data["plans"][0]
    assert plan["downtime_begins"] == 2
    assert [step["kind"] for step in plan["steps"]][:3] == ["stage_root", "stop_jail", "snapshot_volumes"]
    assert all(step["does"] and step["undo"] for step in plan["steps"])
    assert bench.world.state == before


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["upgrade", "nobody"], 2, "usage"),
        (["upgrade"], 2, "usage"),
        (["upgrade", "web", "--bogus"], 2, "usage"),
        (["nonsense"], 2, "usage"),
        (["template", "build", "debian"], 1, "refused"),
        (["tx", "show", "zzzz"], 2, "usage"),
    ],
)
@pytest.mark.parametrize("asked", [["-o", "json"], ["-ojson"], ["--output=json"], ["--json"], ["-o", "jsonl"]])
def test_a_failure_is_an_envelope_with_an_error(
    bench: Bench, words: list[str], code: int, name: str, asked: list[str]
) -> None:
    bench.settle()
    printed = bench.run(*words, *asked)
    assert printed.code == code
    assert (printed.envelope["ok"], printed.data, printed.envelope["error"]["code"]) == (False, None, name)
    assert printed.envelope["error"]["hint"]
    assert printed.err == ""


def test_a_rollback_by_itself_is_an_error_with_its_transaction(bench: Bench) -> None:
    bench.settle()

    def spoil(now: str) -> None:
        if now.startswith("before setting jail:web") and not spoiled:
            spoiled.append(now)
            raise DriverError("cannot start jail web: no luck")

    spoiled: list[str] = []
    bench.gate = spoil
    error = bench.run("upgrade", "web", "--json").envelope["error"]
    assert error["code"] == "rolled-back"
    assert "no luck" in error["message"]


def test_a_bug_is_an_error_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(_world: MemoryWorld) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(MemoryWorld, "drivers", explode)
    assert bench.run("init", "--json").envelope["error"]["code"] == "bug"


@pytest.mark.parametrize(
    ("words", "format"),
    [
        (["status"], Format.TABLE),
        (["status", "-o", "csv"], Format.CSV),
        (["status", "-o", "bogus"], Format.TABLE),
        (["status", "-o"], Format.TABLE),
        (["upgrade", "--", "-o", "json"], Format.TABLE),
        (["status", "-otsv"], Format.TSV),
    ],
)
def test_the_format_is_known_before_the_parser_runs(words: list[str], format: Format) -> None:
    assert format_of(words) is format


def test_the_console_entry_ends_with_the_code(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; from commands.cli import main; sys.exit(main())"]
    words = ["--config", str(tmp_path / "none.toml"), "status", "-o", "json"]
    done = subprocess.run([*argv, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 78
    assert json.loads(done.stdout)["error"]["code"] == "config"
    assert done.stderr == ""

"""The exit codes are a contract: one test for each, with the sentence and the remedy that come with it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands import bootstrap
from commands.cli.app import EXIT_CODES
from commands.config import Config
from commands.drivers.memory import MemoryWorld
from commands.errors import ConfigError, DriverError, ToolMissing
from commands.transactions.interrupt import Interrupt
from ledger.errors import RootswapError
from ledger.schema import LEDGER_FILE
from tests.cli.bench import Bench

ROOT = Path(__file__).parents[2]


def strike(point: str, error: BaseException) -> Callable[[str], None]:
    """A gate that raises ``error`` at the first point that begins so."""
    struck: list[str] = []

    def gate(now: str) -> None:
        if now.startswith(point) and not struck:
            struck.append(now)
            raise error

    return gate


def test_0_for_what_was_done_and_for_nothing_to_do(bench: Bench) -> None:
    bench.settle()
    printed = bench.run("upgrade", "web", "--reason", "CVE", "--ticket", "OPS-7")
    assert (printed.code, printed.out.startswith("web is on debian@")) == (0, True)
    assert bench.run("upgrade", "web").out == "nothing to do\n"
    assert bench.run("init").out == "nothing to do: ledger and pool are there\n"
    assert bench.run("jail", "start", "web").code == 0
    assert bench.run("recover").out == "nothing to recover\n"


def test_1_for_what_is_refused(bench: Bench) -> None:
    bench.settle()
    printed = bench.run("template", "build", "debian")
    assert printed.code == 1
    assert "rootswap: cannot build template debian: it is already there\n  remedy: " in printed.err


def test_1_for_what_failed_and_was_rolled_back(bench: Bench) -> None:
    bench.settle()
    before = dict(bench.world.state)
    bench.gate = strike("before setting jail:web", DriverError("cannot start jail web: no luck"))
    printed = bench.run("upgrade", "web")
    assert printed.code == 1
    assert "was rolled back: step 5 (start_jail) failed: cannot start jail web: no luck" in printed.err
    assert {k: v for k, v in bench.world.state.items() if not k.startswith("snapshot")} == before


def test_1_with_what_the_jail_has_printed_last_which_is_not_kept_in_the_log(bench: Bench) -> None:
    bench.settle()
    bench.world.printed["web"] = ("bind() failed (98: Address in use)", "y" * 300)
    bench.gate = strike("before setting jail:web", DriverError("cannot start jail web: no luck", remedy="see its log"))
    printed = bench.run("upgrade", "web")
    assert printed.err.splitlines()[-1] == (
        "  remedy: the former state holds; nothing needs to be cleaned up; see its log; web printed last: "
        f'"bind() failed (98: Address in use)", "{"y" * 199}…"'
    )
    assert "bind()" not in bench.run("tx", "list", "--json").out + bench.run("audit", "log", "--json").out


def test_1_for_a_jail_that_does_not_get_well_with_what_it_has_printed_last(bench: Bench) -> None:
    bench.settle()
    bench.world.printed["web"] = ("cannot find the database",)
    bench.world.unhealthy.add(bench.run("release", "list", "--json").data[-1]["release"])
    failed = bench.run("upgrade", "web", "--json").envelope
    assert 'web printed last: "cannot find the database"' in failed["error"]["hint"]
    assert "database" not in failed["error"]["message"]


@pytest.mark.parametrize("name", ["/", "..", "a/b", "two words", "", "x" * 300, "-x", "we\x1bb", "webb"])
def test_2_for_a_jail_that_is_not_configured(bench: Bench, name: str) -> None:
    bench.settle()
    printed = bench.run("upgrade", "--", name)
    assert printed.code == 2
    assert printed.err.startswith("rootswap: cannot find jail ")
    assert len(printed.err.splitlines()[0]) < 200
    assert "\x1b" not in printed.err


@pytest.mark.parametrize("release", ["/", "..", "debian", "debian@", "debian@../../x", "x" * 300, "debian@00000000"])
def test_2_for_a_release_that_is_not_there(bench: Bench, release: str) -> None:
    bench.settle()
    assert bench.run("upgrade", "web", "--to", release).code == 2
    assert bench.run("release", "destroy", release, "-y").code == 2


@pytest.mark.parametrize(
    "words",
    [["--bogus"], ["bogus"], ["upgrade"], ["tx"], ["upgrade", "web", "--exit-code"], ["upgrade", "web", "web"]],
)
def test_2_for_a_command_line_that_makes_no_sense(bench: Bench, words: list[str]) -> None:
    printed = bench.run(*words)
    assert (printed.code, printed.out) == (2, "")
    assert printed.err.startswith("rootswap: ")
    assert "  remedy: " in printed.err


def test_2_for_words_that_are_no_text(bench: Bench) -> None:
    bench.settle()
    printed = bench.run("upgrade", "web", "--reason", os.fsdecode(b"caf\xe9"))
    assert (printed.code, printed.out) == (2, "")
    assert "cannot read the command line: it is not UTF-8" in printed.err


def test_2_for_a_question_that_nobody_can_answer(bench: Bench) -> None:
    bench.settle()
    printed = bench.run("release", "destroy", "debian@00000000")
    assert printed.code == 2
    assert "add --yes" in printed.err


def test_3_for_what_needs_an_operator_and_0_once_it_is_resolved(bench: Bench) -> None:
    bench.settle()

    def spoil(now: str) -> None:
        if now.startswith("before setting jail:web"):
            bench.world.state["jail:web"] = "foreign"
            raise DriverError("cannot start jail web: something else runs")

    bench.gate = spoil
    assert bench.run("upgrade", "web").code == 3
    bench.gate = None
    printed = bench.run("recover")
    assert printed.code == 3
    assert "rootswap resolve" in printed.err
    transaction = bench.run("tx", "list", "--open", "--json").data[0]["transaction"]
    assert bench.run("upgrade", "web").code == 3
    assert bench.run("resolve", transaction, "--choice", "unwind", "--reason", "mended").code == 2
    assert bench.run("resolve", "zz", "--choice", "unwind", "--reason", "mended", "-y").code == 2
    del bench.world.state["jail:web"]
    printed = bench.run("resolve", transaction[:4], "--choice", "unwind", "--reason", "mended", "-y")
    assert (printed.code, "rolled back" in printed.out) == (0, True)
    assert bench.run("recover").code == 0


def test_4_for_a_damaged_ledger(bench: Bench) -> None:
    bench.settle()
    (bench.ledger / LEDGER_FILE).write_bytes(b"this was a ledger once" * 1000)
    for words in (["upgrade", "web"], ["status"], ["recover"]):
        printed = bench.run(*words)
        assert printed.code == 4
        assert "  remedy: " in printed.err


def test_10_for_pending_changes_when_asked_for(bench: Bench) -> None:
    bench.settle()
    assert bench.run("upgrade", "web", "-n").code == 0
    printed = bench.run("upgrade", "web", "-n", "--exit-code")
    assert printed.code == 10
    assert "---- the downtime begins here ----\n   2  stop web" in printed.out
    assert bench.run("upgrade", "web").code == 0
    assert bench.run("upgrade", "web", "-n", "--exit-code").code == 0
    assert bench.run("rollback", "web", "-n", "--exit-code").code == 10


def test_69_for_a_missing_tool(bench: Bench) -> None:
    bench.gate = strike("before", ToolMissing("cannot run btrfs: not installed", remedy="install btrfs-progs"))
    assert bench.run("init").code == 69


def test_70_for_a_bug_without_a_traceback(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(_world: MemoryWorld) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(MemoryWorld, "drivers", explode)
    printed = bench.run("init")
    assert printed.code == 70
    assert "unexpected ZeroDivisionError: by zero; this is a bug" in printed.err


def test_75_when_another_engine_holds_the_ledger(bench: Bench) -> None:
    bench.settle()
    holder = ROOT / "tests" / "cli" / "hold_lock.py"
    argv = [sys.executable, str(holder), str(bench.ledger / "lock")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        printed = bench.run("upgrade", "web")
        recovering = bench.run("recover")
        process.kill()
    assert (printed.code, recovering.code) == (75, 75)
    assert f"engine {process.pid} (" in printed.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_77_without_root(tmp_path: Path) -> None:
    nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    can = subprocess.run([*nobody, sys.executable, "-c", "import typer"], capture_output=True, cwd="/", check=False)
    if can.returncode != 0:
        pytest.skip("nobody cannot run this Python")
    words = [sys.executable, "-c", "import sys; from commands.cli import main; sys.exit(main())", "init"]
    done = subprocess.run([*nobody, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 77
    assert done.stderr == "rootswap: cannot change this machine: not root\n  remedy: run it with sudo or doas\n"


def test_77_is_what_a_user_without_root_gets(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    for words in (["init"], ["upgrade", "web"], ["recover"], ["release", "destroy", "debian@00000000", "-y"]):
        printed = bench.run(*words)
        assert (printed.code, printed.out) == (77, "")


def test_78_without_a_configuration_and_without_a_ledger(bench: Bench) -> None:
    assert bench.run("upgrade", "web").code == 78
    bench.config.unlink()
    printed = bench.run("init")
    assert printed.code == 78
    assert str(bench.config) in printed.err


def test_2_for_a_reason_that_is_a_book(bench: Bench) -> None:
    bench.settle()
    printed = bench.run("jail", "stop", "web", "--reason", "x" * 5000)
    assert printed.code == 2
    assert printed.err.startswith("rootswap: cannot record a reason or a ticket of 5000 characters: at most 4096")
    assert bench.run("jail", "stop", "web", "--reason", "x" * 4096).code == 0


def test_78_for_a_state_directory_that_others_can_change(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    config = Config.model_validate({"state_directory": str(tmp_path / "state")})
    with (
        pytest.raises(ConfigError, match="others than root can change it"),
        bootstrap.open_session(config, interrupt=Interrupt(), observer=lambda _plan, _record: None),
    ):
        pass


def test_78_for_a_state_directory_behind_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    config = Config.model_validate({"state_directory": str(tmp_path / "link")})
    session = bootstrap.open_session(config, interrupt=Interrupt(), observer=lambda _plan, _record: None, create=True)
    with pytest.raises(ConfigError, match="link is a symbolic link") as raised, session:
        pass
    assert raised.value.exit_code == 78
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_130_when_interrupted_before_the_point_of_no_return(bench: Bench, number: int) -> None:
    bench.settle()
    before = dict(bench.world.state)

    def interrupt(now: str) -> None:
        if now.startswith("after setting mount:") and now.endswith("stage"):
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)

    bench.gate = interrupt
    printed = bench.run("upgrade", "web")
    assert printed.code == 130
    assert "web has not been stopped yet" in printed.err
    assert "already stopping" in printed.err
    assert bench.world.state == before


def test_0_when_interrupted_after_the_point_of_no_return(bench: Bench) -> None:
    bench.settle()

    def interrupt(now: str) -> None:
        if now.startswith("after dropping jail:web"):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGHUP)

    bench.gate = interrupt
    printed = bench.run("upgrade", "web")
    assert printed.code == 0
    assert "web is past the point of no return and will be finished" in printed.err


def test_what_is_ignored_since_before_we_began_is_ignored_but_not_by_what_we_start(bench: Bench) -> None:
    """As in `rootswap upgrade web &` in a script: a jail that starts then must hear its SIGQUIT."""
    bench.settle()
    children = []

    def look(now: str) -> None:
        if now.startswith("after dropping jail:web"):
            os.kill(os.getpid(), signal.SIGINT)
            for name in ("INT", "QUIT", "HUP"):
                children.append(subprocess.run(["/bin/sh", "-c", f"kill -{name} $$"], check=False).returncode)

    bench.gate = look
    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        printed = bench.run("upgrade", "web")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (printed.code, "will be finished" in printed.err) == (0, False)
    assert children == [-number for number in numbers]


def test_several_jails_stop_at_the_first_that_fails(bench: Bench) -> None:
    bench.settle()
    bench.gate = strike("before setting jail:mail", DriverError("cannot start jail mail: no luck"))
    printed = bench.run("upgrade", "mail", "web")
    assert printed.code == 1
    assert "[web" not in printed.err


def test_parallel_upgrades_finish_apart(bench: Bench) -> None:
    bench.settle()
    bench.gate = strike("before setting jail:mail", DriverError("cannot start jail mail: no luck"))
    printed = bench.run("upgrade", "mail", "web", "--parallel")
    assert printed.code == 1
    assert "of jail:mail was rolled back" in printed.err
    bench.gate = None
    assert [
        one["target"] for one in bench.run("upgrade", "web", "mail", "--parallel", "--json").data["transactions"]
    ] == ["jail:mail"]


def test_a_user_without_rights_is_told_so_by_doctor_and_by_every_verb(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settle()

    def refuse(path: Path) -> bool:
        if path.name in (LEDGER_FILE, "x"):
            raise PermissionError(13, "Permission denied", str(path))
        return True

    monkeypatch.setattr(Path, "exists", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    printed = bench.run("doctor", "--json")
    found = {one["check"]: one for one in printed.data["checks"]}["ledger"]
    assert (printed.code, found["verdict"], found["remedy"]) == (1, "bad", "run it as root")
    assert found["detail"].endswith("/ledger: permission denied")
    monkeypatch.setattr("commands.cli.options.read_config", lambda _ctx: refuse(Path("/x")))
    printed = bench.run("status")
    assert (printed.code, printed.err) == (77, "rootswap: cannot use /x: permission denied\n  remedy: run it as root\n")


def test_the_codes_in_the_runbook_are_those_of_the_errors_and_of_the_help(bench: Bench) -> None:
    table = (ROOT / "docs/runbook.md").read_text().partition("## Exit codes")[2].partition("\n\nAn error")[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    helped = {int(code) for code in re.findall(r"\b(\d+) [a-z]", EXIT_CODES)}
    of_errors = {error.exit_code for error in _errors(RootswapError)}
    assert documented == helped == of_errors | {0, 10, 70}


def _errors(kind: type[RootswapError]) -> Iterator[type[RootswapError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _errors(inner)


@pytest.mark.parametrize(
    "words",
    ["upgrade no", "rollback no", "jail start no", "jail stop no", "template build no", "tx show no", "run no",
     "approve no --reason x", "release destroy no@x --yes", "release list --template no", "tx list --target no",
     "upgrade web --to debian@no", "audit check-proof /no/such/file"],
)  # fmt: skip
def test_2_for_whatever_is_named_and_not_there(bench: Bench, words: str) -> None:
    bench.settle()
    printed = bench.run(*words.split())
    assert (printed.code, printed.out) == (2, "")
    assert "remedy: " in printed.err


def test_a_proof_is_never_written_to_a_file_that_is_called_as_a_format(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settle()
    monkeypatch.chdir(bench.directory)
    printed = bench.run("audit", "prove", "1", "-o", "json")
    assert (printed.code, printed.envelope["error"]["code"]) == (2, "usage")
    assert not (bench.directory / "json").exists()

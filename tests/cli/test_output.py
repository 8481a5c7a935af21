"""What is printed, and that a reader who goes away does no harm."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from commands.cli.output import Format, Table, duration, local_time, show, show_error, size
from tests.cli.bench import Bench

ROOT = Path(__file__).parents[2]
ENTRY = "import sys; from commands.cli import main; sys.exit(main())"
TABLE = Table(("name", "count"), [["a,b", 3], ["é", None]])
DATA = [{"name": "a,b", "count": 3}, {"name": "é", "count": None}]


@pytest.mark.parametrize(
    ("format", "text"),
    [
        (Format.TABLE, "NAME  COUNT\na,b       3\né         -\n"),
        (Format.CSV, 'name,count\n"a,b",3\né,\n'),
        (Format.TSV, "name\tcount\na,b\t3\né\t\n"),
        (Format.JSONL, '{"name":"a,b","count":3}\n{"name":"é","count":null}\n'),
    ],
)
def test_a_result_in_each_format(format: Format, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(format, DATA, TABLE)
    assert capsys.readouterr().out == text


def test_a_table_cannot_be_used_to_control_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(Format.TABLE, None, Table(("name",), [["\x1b[2Jgone\n"]]))
    assert capsys.readouterr().out == "NAME\n?[2Jgone?\n"


def test_text_cannot_be_used_to_control_a_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    show(Format.TABLE, None, "web: \x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J\r\n")
    show_error(Format.TABLE, "driver", "cannot pass: \x1b[2Jgone", "")
    printed = capsys.readouterr()
    assert printed.out == "web: \x1b[31mred\x1b[0m ?]0;title? ?2J?\n"
    assert printed.err == "rootswap: cannot pass: ?[2Jgone\n"


def test_words_for_times_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [duration(n) for n in (None, 1_500_000, 31_000_000, 2_000_000_000, 75_000_000_000)] == [
        "-", "1.5 ms", "31 ms", "2.0 s", "1 min 15 s",
    ]  # fmt: skip
    assert [size(n) for n in (None, 12, 20 << 30)] == ["-", "12 B", "20.0 GiB"]
    assert local_time("2026-11-23T22:00:00.123456Z")[-6] in "+-"


def run(argv: list[str], stdout: int, stderr: int = subprocess.PIPE) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", ENTRY, *argv], stdout=stdout, stderr=stderr, cwd=ROOT)


@pytest.mark.parametrize("words", [["--help"], ["doctor"], ["config", "show"]])
def test_a_closed_pipe_is_no_error(bench: Bench, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with run(["--config", str(bench.config), *words], writing) as process:
        os.close(writing)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() in (0, 1)


def test_closed_streams_are_no_error(bench: Bench) -> None:
    argv = [sys.executable, "-c", ENTRY, "--config", str(bench.config), "config", "show"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *argv], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_a_terminal_that_goes_away_is_no_error(bench: Bench) -> None:
    master, slave = pty.openpty()
    with run(["--config", str(bench.config), "config", "show"], slave, slave) as process:
        os.close(slave)
        os.close(master)
        assert process.wait() == 0


def test_colours_are_for_terminals_that_want_them(bench: Bench) -> None:
    for environment, is_coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        master, slave = pty.openpty()
        argv = [sys.executable, "-c", ENTRY, "--config", str(bench.config), "upgrade"]
        whole = {**os.environ, "TERM": "xterm", "NO_COLOR": "", **environment}
        subprocess.run(argv, stdout=slave, stderr=slave, cwd=ROOT, env=whole, check=False)
        os.close(slave)
        assert (b"\x1b[31m" in os.read(master, 65536)) is is_coloured
        os.close(master)


def test_help_starts_without_what_only_others_need() -> None:
    code = (
        "import sys; from commands.cli import main; main(['--help']);"
        "heavy = {'rich', 'sqlite3', 'sqlite_utils', 'pydantic', 'ledger.events', 'projections'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--help"], ["config", "show"], ["config", "show", "--json"]])
def test_a_result_that_there_is_no_room_for_is_an_error_of_its_own(bench: Bench, words: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with run(["--config", str(bench.config), *words], full) as process:
        os.close(full)
        assert process.stderr is not None
        assert b"cannot print the result: no space left on device" in process.stderr.read()
        assert process.wait() == 74


def test_a_failure_that_there_is_no_room_for_keeps_its_exit_code(bench: Bench) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with run(["--config", str(bench.config), "audit", "log", "--json"], full) as process:
        os.close(full)
        assert process.stderr is not None
        assert b"cannot open ledger" in process.stderr.read()
        assert process.wait() == 78


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (80, "CHECK     VERDICT\r\npackages  ok\r\npython    -\r\n"),
        (16, "CHECK    packages\r\nVERDICT  ok\r\n\r\nCHECK    python\r\n"),  # the heading is 17 wide
        (5, "CHECK    packages\r\nVERDICT  ok\r\n\r\nCHECK    python\r\n"),
    ],
)
def test_on_a_narrow_terminal_each_row_has_lines_of_its_own(columns: int, text: str) -> None:
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    table = "show(Format.TABLE, None, Table(('check', 'verdict'), [['packages', 'ok'], ['python', None]]))"
    code = f"from commands.cli.output import Format, Table, show; {table}"
    subprocess.run([sys.executable, "-c", code], stdout=end, check=True, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"})
    os.close(end)
    printed = os.read(terminal, 4096).decode()
    os.close(terminal)
    assert printed == text

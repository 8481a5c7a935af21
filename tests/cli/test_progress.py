"""Live progress: plain lines where nobody looks, one live line on a terminal."""

import os
import pty
import re
import threading
import time
from contextlib import suppress

import pytest

from commands.cli import progress
from commands.cli.plain import wrapped
from tests.cli.bench import Bench


def dawdle(point: str) -> None:
    """A gate at which the start of a jail takes 0.1 s."""
    if point.startswith("before setting jail:"):
        time.sleep(0.1)


def test_plain_lines_tell_each_step_once(bench: Bench) -> None:
    bench.settle()
    lines = bench.run("upgrade", "web").err.splitlines()
    assert lines[0].endswith("] upgrade web: 6 steps")
    assert [line.split("] ")[1].split(" …")[0] for line in lines[1:-1]] == [
        "1/6 stage_root", "2/6 stop_jail", "3/6 snapshot_volumes", "4/6 remount_root", "5/6 start_jail",
        "6/6 check_health",
    ]  # fmt: skip
    assert "committed … after" in lines[-1]
    assert "down for" in lines[-1]


def test_a_long_step_is_heard_of_before_it_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_STILL_S", -1e9)
    monkeypatch.setattr(progress, "_TICK_S", 0.001)
    bench.settle()
    bench.gate = dawdle
    assert "5/6 start_jail … still running after" in bench.run("upgrade", "web").err


def test_a_terminal_that_takes_nothing_does_not_hold_the_engine_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settle()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(writing, True)
    monkeypatch.setattr(progress, "_PATIENCE_S", 0.1)
    with open(writing, "w", encoding="utf-8", closefd=False) as full:
        monkeypatch.setattr("sys.stderr", full)
        monkeypatch.setattr("commands.cli._flush", lambda _file: None)
        code = bench.run("upgrade", "web").code
        os.close(reading)
        for thread in threading.enumerate():
            if thread.name == "progress":
                thread.join(5)
        os.close(writing)
    assert code == 0


def read_all(master: int, chunks: list[bytes]) -> None:
    """What is written to a terminal, until its other side is closed."""
    with suppress(OSError):
        while chunk := os.read(master, 1 << 16):
            chunks.append(chunk)


def test_a_live_line_is_drawn_on_a_terminal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.settle()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_TICK_S", 0.005)
    bench.gate = dawdle
    master, slave = pty.openpty()
    with open(slave, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        chunks: list[bytes] = []
        reader = threading.Thread(target=read_all, args=(master, chunks))
        reader.start()  # a terminal holds 4 KiB that nobody has read
        assert bench.run("upgrade", "web").code == 0
    reader.join(10)
    os.close(master)
    drawn = b"".join(chunks).decode()
    assert "\r[web " in drawn
    assert re.search(r"start_jail … \d+\.\d s, down \d", drawn)
    assert drawn.rstrip("\r\n").endswith("\x1b[K")


def test_a_jail_that_had_to_be_killed_is_told(bench: Bench) -> None:
    bench.settle()
    bench.configure(bench.config.read_text().replace("[jail.web]", "[jail.web]\nstop_timeout_s = 0.05"))
    assert bench.run("upgrade", "web").code == 0

    def heed_no_signal(point: str) -> None:
        if point.startswith("before dropping jail:web"):
            bench.world.clock.sleep(0.05)

    assert bench.run("template", "upgrade", "debian").code == 0
    assert ", killed" not in bench.run("upgrade", "web").err
    bench.gate = heed_no_signal
    told = next(line for line in bench.run("rollback", "web").err.splitlines() if "stop_jail" in line)
    assert told.endswith(", killed: it did not end by SIGTERM within 0.05 s")


def test_prose_is_wrapped_at_its_words_under_its_beginning() -> None:
    line = "   1  mount debian@vn6b2art at /var/lib/rootswap/jails/web/stage and check it while web still serves"
    told = wrapped(line, 60).splitlines()
    assert " ".join(part.strip() for part in told) == line.strip()
    assert max(map(len, told)) <= 60 and all(part.startswith("      ") for part in told[1:])
    assert wrapped(line, 200) == line

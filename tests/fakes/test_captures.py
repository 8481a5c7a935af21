"""Replays what was typed on a real FreeBSD 15.1 on the world in memory: same status, same output, same errors.

Numbers that no two machines share (sizes, times, guids) are compared by their shape; ``_NUMBERS`` lists them. Commands
of tools that no driver calls are listed in ``OUT_OF_SCOPE`` with the reason.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.drivers.base import Completed
from tests.fakes.shell import run_line
from tests.fakes.tree import Blob
from tests.fakes.world import FakeFreeBSD

CAPTURES = Path(__file__).parent / "captures/freebsd-15.1.jsonl"

#: The start of a command, and why it is not played.
OUT_OF_SCOPE = {
    "kldload": "the module is there",
    "gpart": "slots of the host, not of a jail",
    "newfs": "slots of the host",
    "fsck_ffs": "slots of the host",
    "glabel": "slots of the host",
    "bectl": "slots of the host",
    "zfsbootcfg": "slots of the host",
    "mkdir -p /cfg": "the configuration slice",
    "mount -o ro /dev/vtbd2s3": "the configuration slice",
    "mount -u -o ro /": "the host's own root",
    "mdmfs": "memory disks",
    "zpool history": "nobody asks for it",
    "df": "space is asked of zfs",
    "stat": "files are looked at through the door",
}

#: Properties and columns whose values are compared by shape.
_NUMBERS = {
    "creation", "createtxg", "guid", "used", "avail", "available", "refer", "referenced", "written", "logicalused",
    "logicalreferenced", "usedbydataset", "usedbysnapshots", "objsetid", "free", "size", "capacity",
}  # fmt: skip


@dataclass(frozen=True)
class Capture:
    """A command and what a real system answered."""

    number: int
    command: str
    answer: Completed


def captures() -> Iterator[Capture]:
    """Every capture, in its order."""
    for number, line in enumerate(CAPTURES.read_text().splitlines()):
        told = json.loads(line)
        yield Capture(number, told["command"], Completed(told["rc"], told["stdout"], told["stderr"]))


def in_scope(command: str) -> bool:
    """Whether the command is to be answered as captured."""
    return not command.startswith(tuple(OUT_OF_SCOPE))


#: What was done between two captures and is in none of them: the root was unpacked into the template.
def between(world: FakeFreeBSD, number: int) -> None:
    """Do by hand what had been done by hand before this capture."""
    if number == 16:
        for name in ("dev", "home", "var"):
            world.make_directory(f"/rs/templates/web/{name}")
        world.write("/rs/templates/web/base.txz", Blob(b"", 61726208))


@pytest.fixture(scope="module")
def replayed() -> dict[int, Completed]:
    """What the world in memory answers to each captured command, all on one world."""
    world = FakeFreeBSD()
    answers = {}
    for capture in captures():
        between(world, capture.number)
        if in_scope(capture.command):
            answers[capture.number] = run_line(world, capture.command)
    return answers


@pytest.mark.parametrize("capture", [one for one in captures() if in_scope(one.command)], ids=lambda one: one.command)
def test_a_captured_command_is_answered_as_it_was_on_the_real_system(
    capture: Capture, replayed: dict[int, Completed]
) -> None:
    answer = replayed[capture.number]
    assert shaped(capture.command, answer) == shaped(capture.command, capture.answer)


def test_each_reason_to_leave_a_capture_out_is_needed() -> None:
    commands = [capture.command for capture in captures()]
    assert [start for start in OUT_OF_SCOPE if not any(one.startswith(start) for one in commands)] == []
    assert sum(map(in_scope, commands)) >= 130


def shaped(command: str, answer: Completed) -> Completed:
    """The answer with the numbers that no two machines share replaced."""
    out, complaints = answer.stdout, answer.stderr
    asked = command.rpartition("; ")[2].split()
    if asked[:2] in (["zfs", "get"], ["zfs", "list"], ["zpool", "get"]):
        out = "".join(f"{_shaped_row(asked, line)}\n" for line in out.splitlines())
    if command.startswith("zfs holds"):
        out = re.sub(r"\t\d+$", "\tTIME", out, flags=re.MULTILINE)
    if "-nvp" in command:
        out = re.sub(r"reclaim\t\d+", "reclaim\tSIZE", out)
    if command.startswith("mount -v"):
        out = re.sub(r"fsid [0-9a-f]{16}, vnodes: count \d+", "fsid ID, vnodes: count N", out)
    if command.startswith("time "):
        complaints = re.sub(r"(\d+)\.\d\d (real|user|sys)", r"\1.x \2", complaints)
    if "dd " in command:
        pattern = r"\d+ bytes transferred in [\d.]+ secs \(\d+ bytes/sec\)|^\d+(?=\+[01] records)"
        out, complaints = (re.sub(pattern, "N", text, flags=re.MULTILINE) for text in (out, complaints))
    return Completed(answer.status, out, complaints)


def _shaped_row(asked: list[str], line: str) -> str:
    columns = asked[asked.index("-o") + 1].split(",")
    fields = dict(zip(columns, line.split("\t"), strict=True))
    wanted = asked[asked.index("-o") + 2].split(",")
    if "value" in columns and (fields.get("property", wanted[0]) in _NUMBERS or wanted[0].startswith("written@")):
        fields["value"] = re.sub(r"^[1-9]\d*$" if "@" in wanted[0] else r"^\d+$", "N", fields["value"])
    return "\t".join(re.sub(r"^\d+$", "N", text) if name in _NUMBERS else text for name, text in fields.items())

"""As much of sh(1) as the captures need: `;`, `|`, `>`, `>>`, `2>/dev/null`, `2>&1`, quotes, `$?`; echo, grep, head."""

import re
import shlex
from collections.abc import Sequence

from commands.drivers.door import Completed
from tests.fakes.world import Errno, FakeFreeBSD

_PARTS = re.compile(r"""\s*(2>&1|2>|>>|>|;|\||(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s;|>'"\\])+)""")


def run_line(world: FakeFreeBSD, line: str, stdin: str = "") -> Completed:
    """Run a command line: the status is that of the last command, the output that of all."""
    from tests.fakes import tools

    status, out, complaints = 0, "", ""
    for command in _split(_PARTS.findall(line), ";"):
        piped = stdin
        stages = _split(command, "|")
        for place, stage in enumerate(stages):
            words, redirects = _redirected(stage)
            argv = [word.replace("$?", str(status)) for word in words]
            completed = tools.run(world, argv, piped) if argv else Completed(0, "", "")
            told, complained = completed.stdout, completed.stderr
            for kind, target in redirects:
                if kind == "2>&1":
                    told, complained = told + complained, ""
                elif kind == "2>":
                    complained = ""
                else:
                    complained += _keep(world, target, told, append=kind == ">>")
                    told = ""
            complaints += complained
            piped = told
            if place == len(stages) - 1:
                status, out = completed.status, out + told
    return Completed(status, out, complaints)


def _split(parts: list[str], at: str) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for part in parts:
        if part == at:
            groups.append([])
        else:
            groups[-1].append(part)
    return [group for group in groups if group]


def _redirected(stage: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    words: list[str] = []
    redirects: list[tuple[str, str]] = []
    parts = iter(stage)
    for part in parts:
        if part == "2>&1":
            redirects.append((part, ""))
        elif part in ("2>", ">", ">>"):
            redirects.append((part, shlex.split(next(parts))[0]))
        else:
            words += shlex.split(part) or [""]
    return words, redirects


def _keep(world: FakeFreeBSD, path: str, text: str, *, append: bool) -> str:
    if path == "/dev/null":
        return ""
    node = world.find(path)
    old = node.blob.content.decode() if append and node is not None else ""
    try:
        world.write(path, (old + text).encode())
    except Errno as error:
        return f"cannot create {path}: {error}\n"
    return ""


def sh(world: FakeFreeBSD, argv: Sequence[str], stdin: str) -> Completed:
    """sh -c LINE; `exit N` ends it."""
    line = argv[2]
    match = re.fullmatch(r"exit (\d+)", line.strip())
    return Completed(int(match[1]), "", "") if match else run_line(world, line, stdin)


def echo(_world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """echo."""
    return Completed(0, " ".join(argv[1:]) + "\n", "")


def printf(_world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    r"""printf '%s\n' WORD."""
    return Completed(0, "".join(f"{word}\n" for word in argv[2:]), "")


def grep(_world: FakeFreeBSD, argv: Sequence[str], stdin: str) -> Completed:
    """grep WORD."""
    lines = [line for line in stdin.splitlines(keepends=True) if argv[-1] in line]
    return Completed(0 if lines else 1, "".join(lines), "")


def head(_world: FakeFreeBSD, argv: Sequence[str], stdin: str) -> Completed:
    """head, head -N and head -c N."""
    if len(argv) == 1:
        argv = [*argv, "-10"]
    if argv[1] == "-c":
        return Completed(0, stdin[: int(argv[2])], "")
    return Completed(0, "".join(stdin.splitlines(keepends=True)[: int(argv[1][1:])]), "")


def tail(_world: FakeFreeBSD, argv: Sequence[str], stdin: str) -> Completed:
    """tail -N."""
    return Completed(0, "".join(stdin.splitlines(keepends=True)[-int(argv[1][1:]) :]), "")


TOOLS = {
    "sh": sh, "echo": echo, "printf": printf, "grep": grep, "head": head, "tail": tail,
    "true": lambda _world, _argv, _stdin: Completed(0, "", ""),
    "false": lambda _world, _argv, _stdin: Completed(1, "", ""),
}  # fmt: skip

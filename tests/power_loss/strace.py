"""Record a process with strace: exactly what ships, byte for byte, on the SQLite that Python is linked with.

Nothing in the process is replaced: the ledger's own SQLite, its ``os`` calls (directories, the rename of the draft,
the lock) and its order of system calls are seen as the kernel sees them. Only SQLite's shared index is left out: it is
mapped memory, and a crash makes it worthless by definition (it is rebuilt by the first to open the file).

A recording may go on over several processes, of which any may be killed at a chosen system call: what a killed process
has written and not synced is in the page cache, where the next process reads it and the power cut takes it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.power_loss.trace import (
    DIRECTORY,
    MARKS,
    Op,
    Rebind,
    Sync,
    SyncDirectory,
    Truncate,
    Write,
    parent,
    parse_mark,
)

#: Every call that changes a file or a directory, and what is needed to know which file is meant.
_CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,"
    "copy_file_range,sendfile,splice,mmap,fsync,fdatasync,sync,syncfs,sync_file_range,"
    "unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,rmdir"
)
_LINE = re.compile(r"(\w+)\((.*)\)\s+= (\d+|0x[0-9a-f]+)(?: \(INJECTED[^)]*\))?$", re.S)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
#: Rebuilt after a crash, never read.
WORTHLESS = ("-shm",)


class Untraced(AssertionError):
    """The recorder met a call that it does not understand, or has missed one."""


def available() -> bool:
    """Whether this machine has strace and allows it."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode == 0


@dataclass
class Recorder:
    """Runs programs on the files below ``root`` and writes down what they do to them."""

    root: Path
    ops: list[Op] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytearray] = field(default_factory=dict)
    _next_file: int = DIRECTORY + 1

    def run(self, module: str, *arguments: str, kill_at: tuple[str, int] | None = None) -> bool:
        """Run ``python -m module root arguments`` and add its trace; whether it came to its end.

        ``kill_at`` names a system call and which of them: there the process is killed, before the call does anything.
        """
        log = self.root.with_name(self.root.name + ".strace")
        inject = []
        if kill_at is not None:
            call, number = kill_at
            inject = ["-e", f"inject={call}:signal=KILL:when={number}"]
        tracer = ["strace", "--seccomp-bpf", "-f", "-xx", "-s", str(1 << 26), "-e", "signal=none"]
        if kill_at is not None:
            tracer.remove("--seccomp-bpf")  # does not go together with inject in every version
        program = [sys.executable, "-m", module, str(self.root), *arguments]
        command = [*tracer, "-e", f"trace={_CALLS}", *inject, "-o", str(log), *program]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        killed = done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        if done.returncode != 0 and not (killed and kill_at is not None):
            raise Untraced(f"{' '.join(program)} failed: {done.stderr}")
        _Reading(self).read(log.read_text())
        log.unlink()
        self.compare()
        return not killed

    def fork(self, root: Path) -> "Recorder":
        """Another recording that has begun like this one, on its own copy of the files."""
        shutil.copytree(self.root, root)
        contents = {file: bytearray(content) for file, content in self.contents.items()}
        return Recorder(root, list(self.ops), dict(self.names), contents, self._next_file)

    def adopt(self) -> None:
        """Begin with the files that are there."""
        for path, content in sorted(self._files().items()):
            if content is None:
                self.rebind((path, DIRECTORY))
            else:
                self.change(Write(self.create(path), 0, content))

    def compare(self, *, apart_from: Collection[str] = ()) -> None:
        """Raise Untraced unless the trace, carried out in full, gives the very files that are there."""
        there = self._files()
        traced = {path: None if file == DIRECTORY else bytes(self.contents[file]) for path, file in self.names.items()}
        if there != traced:
            wrong = {path for path in there.keys() | traced.keys() if there.get(path) != traced.get(path)}
            if wrong := wrong.difference(apart_from):
                raise Untraced(f"the trace does not lead to the files that are there: {sorted(wrong)}")

    def _files(self) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else None
            for path in self.root.rglob("*")
            if str(path.relative_to(self.root)) != MARKS and not path.name.endswith(WORTHLESS)
        }

    def create(self, path: str) -> int:
        """A new, empty file."""
        file, self._next_file = self._next_file, self._next_file + 1
        self.contents[file] = bytearray()
        self.rebind((path, file))
        return file

    def rebind(self, *names: tuple[str, int | None]) -> None:
        """A change of a directory."""
        directories = {parent(path) for path, _ in names}
        if len(directories) != 1:
            raise Untraced(f"one change in two directories: {names}")
        for path, file in names:
            if file is None:
                del self.names[path]
            else:
                self.names[path] = file
        self.ops.append(Rebind(directories.pop(), names))

    def change(self, op: Write | Truncate) -> None:
        """A change of a file."""
        apply(self.contents[op.file], op)
        self.ops.append(op)


def apply(content: bytearray, op: Write | Truncate) -> None:
    """Do ``op`` to ``content``; what lies between the old end and the new is zero."""
    size = op.size if isinstance(op, Truncate) else max(len(content), op.offset + len(op.data))
    content.extend(bytes(max(0, size - len(content))))
    if isinstance(op, Truncate):
        del content[op.size :]
    else:
        content[op.offset : op.offset + len(op.data)] = op.data


class _Reading:
    """One process's log, read from top to bottom."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._prefix = os.fsencode(recorder.root) + b"/"
        #: What our descriptors stand for: a file, a directory, the marks.
        self._files: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._directories: dict[int, str] = {}
        self._marks: set[int] = set()
        self._pids: set[str] = set()

    def read(self, log: str) -> None:
        for line in log.splitlines():
            pid, _, rest = line.partition(" ")
            match = _LINE.match(rest.strip())
            if match is None:
                # Failed calls, exits, and the call at which the process was killed.
                if "resumed>" in rest:
                    raise Untraced(f"two threads at once: {rest[:200]}")
                continue
            call, arguments, result = match.groups()
            before = len(self._recorder.ops)
            self._take(call, arguments, int(result, 0))
            if len(self._recorder.ops) > before:
                self._pids.add(pid)
        if len(self._pids) > 1:
            raise Untraced(f"several processes or threads have written: {self._pids}")

    def _take(self, call: str, arguments: str, result: int) -> None:
        match call:
            case "open" | "openat" | "creat":
                self._open(arguments, result)
            case "close":
                self._close(int(arguments))
            case "write" | "pwrite64":
                self._write(call, arguments, result)
            case "ftruncate":
                fd, size = (int(part) for part in arguments.split(", "))
                if fd in self._files:
                    self._recorder.change(Truncate(self._files[fd], size))
            case "fsync" | "fdatasync":
                self._sync(int(arguments))
            case "mkdir" | "mkdirat" | "unlink" | "unlinkat" | "rename" | "renameat" | "renameat2" | "rmdir":
                self._change_names(call, [self._ours(path) for path in _strings(arguments)])
            case _:
                self._require_foreign(call, arguments)

    def _open(self, arguments: str, fd: int) -> None:
        path = self._ours(_strings(arguments)[0])
        flags = arguments.rpartition('", ')[2]
        self._close(fd)
        if path is None:
            return
        if path == MARKS:
            self._marks.add(fd)
        elif path.endswith(WORTHLESS):
            return
        elif path == "." or self._recorder.names.get(path) == DIRECTORY:
            self._directories[fd] = path
        else:
            file = self._recorder.names.get(path)
            if file is None:
                if "O_CREAT" not in flags:
                    raise Untraced(f"{path} was opened, but its creation not seen")
                file = self._recorder.create(path)
            elif "O_TRUNC" in flags:
                self._recorder.change(Truncate(file, 0))
            self._files[fd] = file
            self._positions[fd] = 0
            if "O_APPEND" in flags:
                raise Untraced(f"{path} is written with O_APPEND")

    def _close(self, fd: int) -> None:
        self._files.pop(fd, None)
        self._directories.pop(fd, None)
        self._marks.discard(fd)

    def _write(self, call: str, arguments: str, written: int) -> None:
        fd = int(arguments.partition(",")[0])
        if fd in self._marks:
            self._recorder.ops.append(parse_mark(_strings(arguments)[0][:written]))
        elif fd in self._files:
            if call == "pwrite64":
                offset = int(arguments.rpartition(", ")[2])
            else:
                offset = self._positions[fd]
                self._positions[fd] += written
            self._recorder.change(Write(self._files[fd], offset, _strings(arguments)[0][:written]))

    def _sync(self, fd: int) -> None:
        if fd in self._files:
            self._recorder.ops.append(Sync(self._files[fd]))
        elif fd in self._directories:
            self._recorder.ops.append(SyncDirectory(self._directories[fd]))

    def _change_names(self, call: str, paths: Sequence[str | None]) -> None:
        if all(path is None or path.endswith(WORTHLESS) for path in paths):
            return
        names = self._recorder.names
        match call, paths:
            case "mkdir" | "mkdirat", [str(path)]:
                self._recorder.rebind((path, DIRECTORY))
            case "unlink" | "unlinkat" | "rmdir", [str(path)]:
                self._recorder.rebind((path, None))
            case "rename" | "renameat" | "renameat2", [str(old), str(new)] if names[old] != DIRECTORY:
                self._recorder.rebind((old, None), (new, names[old]))
            case _:
                raise Untraced(f"{call} of {paths}")

    def _require_foreign(self, call: str, arguments: str) -> None:
        """Raise Untraced if a call that we do not follow touches our files."""
        numbers = {int(word) for word in re.findall(r"(?<![\w.])\d+(?![\w.])", _STRING.sub("", arguments))}
        fds = numbers & (self._files.keys() | self._directories.keys() | self._marks)
        if call == "mmap":
            fd = arguments.split(", ")[4]
            fds = {int(fd)} & self._files.keys() if fd.isdigit() and "PROT_WRITE" in arguments else set()
        elif call in ("dup2", "dup3", "dup"):
            fds = {int(arguments.partition(",")[0])} & fds
        if fds or any(self._ours(path) is not None for path in _strings(arguments)):
            raise Untraced(f"{call}({arguments[:200]})")

    def _ours(self, path: bytes) -> str | None:
        if path + b"/" == self._prefix:
            return "."
        return os.fsdecode(path.removeprefix(self._prefix)) if path.startswith(self._prefix) else None


def _strings(arguments: str) -> list[bytes]:
    return [bytes.fromhex(found.replace("\\x", "")) for found in _STRING.findall(arguments)]

"""Lets the loader of a root load a program, without running it: while the old root still serves.

Two things come of it. A library that is missing is found out before the switch. And what the program consists of is in
memory when it is started: a snapshot shares its disk blocks with the template, but not the page cache. (nginx on a
fresh Btrfs snapshot, nothing in the cache: first answer 39 ms after the start instead of 75 ms.)
"""

import struct

from commands.drivers.base import Host, JailSpec
from commands.drivers.builders import CONFINED
from commands.errors import DriverError

_TIMEOUT_S = 30.0
_INTERPRETER = 3  # PT_INTERP of elf(5)
_MISSING = "error while loading shared libraries"


def load_command(host: Host, root: str, jail: JailSpec, program: bytes) -> None:
    """Raise DriverError if ``program``, the content of the jail's command, lacks a library in ``root``.

    Scripts and statically linked programs are taken as they are; a loader that cannot say is no reason to refuse.
    """
    loader = elf_interpreter(program)
    if loader is None:
        return
    # As an argument: in the environment it would be obeyed by the host's own unshare and chroot first.
    libraries = dict(jail.environment).get("LD_LIBRARY_PATH")
    places = ["--library-path", libraries] if libraries else []
    argv = [*CONFINED, "chroot", root, loader, *places, "--list", jail.command[0]]
    completed = host.run(argv, check=False, timeout_s=_TIMEOUT_S)
    for line in completed.stderr.splitlines():
        if _MISSING in line:
            cause = line.partition(_MISSING)[2].strip(": ")
            raise DriverError(f"cannot run jail {jail.name} on {root}: {jail.command[0]} cannot be loaded: {cause}")


def elf_interpreter(program: bytes) -> str | None:
    """The loader that an ELF program names; None for anything else, and for one that is linked statically."""
    if program[:4] != b"\x7fELF" or program[4:5] not in (b"\1", b"\2") or program[5:6] not in (b"\1", b"\2"):
        return None
    order = "<" if program[5] == 1 else ">"
    is_64 = program[4] == 2
    try:
        (table,) = struct.unpack_from(order + ("Q" if is_64 else "I"), program, 32 if is_64 else 28)
        size, count = struct.unpack_from(order + "HH", program, 54 if is_64 else 42)
        for at in range(table, table + size * count, size):
            (kind,) = struct.unpack_from(order + "I", program, at)
            if kind == _INTERPRETER:
                (start,) = struct.unpack_from(order + ("Q" if is_64 else "I"), program, at + (8 if is_64 else 4))
                return program[start : program.index(b"\0", start)].decode()
    except (struct.error, ValueError):
        pass
    return None

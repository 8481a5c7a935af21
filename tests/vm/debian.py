"""The guest's system from Debian packages, with mmdebstrap. Nothing here is installed on this machine."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

SUITE = "bookworm"
#: ZFS lies in contrib. Both archives carry kernels; the newest wins.
_SOURCES = """\
deb http://deb.debian.org/debian {suite} main contrib
deb http://deb.debian.org/debian {suite}-updates main contrib
deb http://deb.debian.org/debian-security {suite}-security main contrib
"""
_NOT_NEEDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


class BuildFailed(Exception):
    """A part of the guest could not be made; the message says which command said what."""


def bootstrap(root: Path, packages: Sequence[str], log: Path, timeout_s: float = 5400) -> None:
    """A Debian system in the directory ``root``, without recommended packages and without documentation."""
    sources = root.with_name(f"{root.name}.list")
    sources.write_text(_SOURCES.format(suite=SUITE))
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _NOT_NEEDED]
    options += ["--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Retries "5"']
    try:
        logged(
            ["mmdebstrap", "--mode=root", "--variant=minbase", *options, f"--include={','.join(packages)}",
             SUITE, str(root), str(sources)],
            log,
            timeout_s,
        )  # fmt: skip
    finally:
        sources.unlink()


def logged(argv: Sequence[str], log: Path, timeout_s: float = 3600) -> None:
    """Run a command with its output in ``log``. Raises BuildFailed with the end of it."""
    with log.open("ab") as file:
        file.write(f"$ {' '.join(argv)}\n".encode())
        file.flush()
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=timeout_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BuildFailed(f"cannot run {argv[0]}: {error}") from error
    if done.returncode != 0:
        raise BuildFailed(f"cannot run {' '.join(argv)}: status {done.returncode}; the end of {log}:\n{tail(log)}")


def tail(path: Path, lines: int = 30) -> str:
    """The last lines of a log, for people."""
    if not path.exists():
        return "(there is no such file)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def kernel_of(root: Path) -> str:
    """The version of the one kernel that a system has modules for. Raises BuildFailed unless there is exactly one."""
    versions = sorted(path.name for path in (root / "lib/modules").iterdir())
    if len(versions) != 1:
        raise BuildFailed(f"cannot tell the kernel of the guest: modules for {versions}")
    return versions[0]

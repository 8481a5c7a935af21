"""This checkout as a disk for the guest: a tar archive of a fixed size, so that a saved machine takes any of them."""

import compileall
import sys
import tarfile
from pathlib import Path

from tests.vm.cache import CACHE, locked
from tests.vm.machine import Drive, Machine
from tests.vm.site import root_archive
from tests.vm.system import PRIVATE, REPOSITORY

SERIAL = "code"
_SIZE = 64 << 20
_PARTS = ("ledger", "commands", "projections", "tests", "pyproject.toml")


def code_drive(directory: Path) -> Drive:
    """A disk with this checkout, written to ``directory``."""
    path = directory / "code.tar"
    with locked(CACHE / ".code.lock"):  # another guest may be given the same files
        if sys.version_info[:2] == (3, 11):  # the guest's; else it compiles for itself, which takes it longer
            for part in _PARTS[:3]:
                compileall.compile_dir(REPOSITORY / part, quiet=1)
        with tarfile.open(path, "w") as tar:
            for part in _PARTS:
                tar.add(REPOSITORY / part, part, filter=_as_root)
            tar.add(root_archive(directory), "root.tar", filter=_as_root)
    with path.open("r+b") as file:
        assert path.stat().st_size <= _SIZE, "the checkout has outgrown its disk"
        file.truncate(_SIZE)
    return Drive(SERIAL, str(path), read_only=True)


def install_code(machine: Machine) -> None:
    """Unpack the disk where the guest's rootswap looks for it."""
    machine.run("rm", "-rf", f"/{PRIVATE}/src")
    machine.run("mkdir", "-p", f"/{PRIVATE}/src")
    machine.run("tar", "-xf", f"/dev/disk/by-id/virtio-{SERIAL}", "-C", f"/{PRIVATE}/src")
    # A power cut may empty files that were just written, and Python runs an empty file without complaint.
    machine.run("sync")


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry

"""ZFS for the guest's kernel: Debian's zfs-dkms, compiled in a throw-away root. Ten minutes and more, once a kernel."""

import shutil
from pathlib import Path

from tests.vm.cache import CACHE, discard, kept
from tests.vm.debian import BuildFailed, bootstrap

#: spl before zfs: the order in which they need one another is depmod's business.
_WANTED = ("spl.ko", "zfs.ko")


def zfs_modules(kernel: str) -> Path:
    """A directory with the modules for this version of the kernel."""
    return kept(f"zfs-{kernel}", lambda draft: _compile(kernel, draft))


def _compile(kernel: str, draft: Path) -> None:
    root = CACHE / ".zfs-root"
    discard(root)
    try:
        bootstrap(root, [f"linux-headers-{kernel}", "zfs-dkms", "ca-certificates"], CACHE / "zfs.log", 5400)
        collect(root, kernel, draft)
    finally:
        discard(root)


def collect(root: Path, kernel: str, draft: Path) -> None:
    """Copy the compiled modules out of the root that they were compiled in."""
    found = sorted((root / "lib/modules" / kernel / "updates/dkms").glob("*.ko"))
    if missing := [name for name in _WANTED if name not in [path.name for path in found]]:
        raise BuildFailed(f"cannot compile ZFS for {kernel}: no {', '.join(missing)}; see {CACHE / 'zfs.log'}")
    draft.mkdir()
    for path in found:
        shutil.copy2(path, draft / path.name)

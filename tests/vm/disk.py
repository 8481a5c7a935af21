"""The guest's disk and how it is booted: an ext4 of its system, the kernel, and an initrd that knows virtio only."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.vm.cache import CACHE, discard, kept, key_of
from tests.vm.debian import BuildFailed, logged
from tests.vm.system import PACKAGES, assemble, guest_lock

SIZE = "4G"
#: What stands between the kernel and its disk, each after what it needs. What is built in is left out.
_DRIVERS = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
)


@dataclass(frozen=True, slots=True)
class Guest:
    """What a machine is started from."""

    disk: Path
    kernel: Path
    initrd: Path


def guest() -> Guest:
    """The guest's disk, from the cache or made now."""
    ours = [path.read_bytes() for path in sorted(Path(__file__).with_name("guest").iterdir()) if path.is_file()]
    code = [Path(__file__).read_bytes(), Path(__file__).with_name("system.py").read_bytes()]
    key = key_of(*PACKAGES, guest_lock().encode(), *ours, *code)
    made = kept(f"guest-{key}", _make)
    return Guest(made / "disk.img", made / "vmlinuz", made / "initrd")


def _make(draft: Path) -> None:
    root = CACHE / ".guest-root"
    discard(root)
    draft.mkdir()
    log = CACHE / "disk.log"
    log.unlink(missing_ok=True)
    try:
        kernel = assemble(root)
        shutil.copy2(root / f"boot/vmlinuz-{kernel}", draft / "vmlinuz")
        _make_initrd(root, kernel, draft / "initrd")
        discard(root / "boot")
        (root / "boot").mkdir()
        logged(["mke2fs", "-q", "-t", "ext4", "-L", "guest", "-d", str(root), str(draft / "disk.img"), SIZE], log)
    finally:
        discard(root)


def _make_initrd(root: Path, kernel: str, path: Path) -> None:
    """Busybox, the drivers of the disk and ``init``, as a cpio archive."""
    tree = root / "initrd"
    for name in ("bin", "dev", "proc", "root", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy2(root / "bin/busybox", tree / "bin/busybox")
    shutil.copy2(Path(__file__).with_name("guest") / "init", tree / "init")
    (tree / "init").chmod(0o755)
    order = []
    for driver in _DRIVERS:
        for module in (root / "lib/modules" / kernel / "kernel").rglob(f"{driver}.ko"):
            shutil.copy2(module, tree / "modules" / module.name)
            order.append(module.name)
    (tree / "modules/order").write_text("".join(f"{name}\n" for name in order))
    names = "".join(f"{name.relative_to(tree)}\n" for name in sorted(tree.rglob("*")))
    with path.open("wb") as out:
        done = subprocess.run(
            ["chroot", str(root), "sh", "-c", "cd /initrd && cpio --quiet -o -H newc"],
            input=names.encode(),
            stdout=out,
            check=False,
        )
    if done.returncode != 0:
        raise BuildFailed("cannot make the initrd: cpio failed")
    discard(tree)

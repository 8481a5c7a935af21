"""The guest's system: packages, rootswap's locked dependencies, and what we put beside them."""

import re
import shutil
import sys
from pathlib import Path

from tests.vm.cache import CACHE, discard, kept, key_of
from tests.vm.debian import bootstrap, kernel_of, logged
from tests.vm.modules import zfs_modules

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = (
    "linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "kmod", "util-linux", "mount", "e2fsprogs", "xfsprogs",
    "btrfs-progs", "lvm2", "thin-provisioning-tools", "zfsutils-linux", "lxc", "iproute2", "openssh-client",
    "python3", "busybox-static",
)  # fmt: skip
#: Where rootswap lives in the guest: `bin` with the interpreter, `src` with the checkout of this run.
PRIVATE = "opt/rootswap"
#: Checkers and formats' own libraries: nothing in the guest asks for them, and some have no wheel to unpack.
_NOT_IN_GUEST = ("ruff", "mypy", "grimp", "import-linter", "cloudevents", "lark-parser", "syslog-rfc5424-parser")
#: Units that would only make the boot longer on an emulated machine.
_MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "systemd-tmpfiles-clean.timer", "e2scrub_reap.service", "getty.target", "getty@.service", "serial-getty@.service",
    "lxc-net.service", "lxc-monitord.service", "systemd-logind.service", "systemd-timesyncd.service",
    "systemd-pstore.service", "systemd-networkd.service", "systemd-resolved.service", "zfs-zed.service",
    "zfs-share.service", "zfs-volume-wait.service", "modprobe@.service",
    "systemd-sysctl.service", "systemd-sysusers.service", "systemd-binfmt.service", "systemd-journal-flush.service",
    "proc-sys-fs-binfmt_misc.automount", "systemd-random-seed.service", "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service", "systemd-user-sessions.service", "dev-hugepages.mount",
    "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount", "systemd-ask-password-wall.path", "systemd-ask-password-console.path",
    "systemd-initctl.socket", "lvm2-monitor.service", "dm-event.service",
    "dm-event.socket", "remote-fs.target",
)  # fmt: skip
#: Settings of ours for units of Debian's.
_DROP_INS = {
    # Nothing of LXC's own starts here, and looking for it takes half a minute. The unit stays, for the order.
    "lxc.service": "[Service]\nExecStartPre=\nExecStart=\nExecStart=/bin/true\nExecStop=\n",
    "systemd-udev-trigger.service": "[Service]\nExecStart=\nExecStart=-udevadm trigger --type=devices --action=add "
    "--subsystem-match=block --subsystem-match=misc --subsystem-match=virtio-ports --subsystem-match=mem\n",
    "systemd-udev-settle.service": "[Service]\nTimeoutSec=1800\nExecStart=\nExecStart=udevadm settle --timeout=1800\n",
    # Where no pool was ever made, no module is needed.
    "zfs-load-module.service": "[Unit]\nConditionFileNotEmpty=/etc/zfs/zpool.cache\n",
}
_SETTINGS = {
    # systemd and udev give up on what takes a minute or three; on a busy host it may take them longer.
    "etc/systemd/system.conf.d/guest.conf": "[Manager]\nDefaultTimeoutStartSec=1800\nDefaultTimeoutStopSec=1800\n"
    "DefaultDeviceTimeoutSec=1800\n",
    "etc/udev/udev.conf": "event_timeout=1800\n",
    # dmeventd is not there (see _MASKED), and looking for it makes each command of LVM a third longer.
    "etc/lvm/lvmlocal.conf": "activation {\n    monitoring = 0\n}\n",
}
_LAUNCHER = """\
#!/opt/rootswap/bin/python
from commands.cli import run

run()
"""


def guest_lock() -> str:
    """What the guest gets of requirements.lock."""
    packages = re.split(r"^(?=[a-z])", (REPOSITORY / "requirements.lock").read_text(), flags=re.MULTILINE)
    return "".join(text for text in packages if text.partition("==")[0] not in _NOT_IN_GUEST)


def packages_root() -> Path:
    """The Debian system, as its packages left it."""
    name = f"system-{key_of(*PACKAGES)}"
    return kept(name, lambda draft: bootstrap(draft, PACKAGES, CACHE / "system.log"))


def assemble(root: Path) -> str:
    """Make ``root`` the whole system of the guest; the version of its kernel."""
    log = CACHE / "assemble.log"
    log.unlink(missing_ok=True)
    base = packages_root()
    kernel = kernel_of(base)
    modules = zfs_modules(kernel)
    logged(["cp", "-a", "--reflink=auto", str(base), str(root)], log)
    extra = root / "lib/modules" / kernel / "updates"
    extra.mkdir()
    for module in modules.iterdir():
        shutil.copy2(module, extra / module.name)
    logged(["chroot", str(root), "/sbin/depmod", kernel], log)
    _install_python(root, log)
    _install_ours(root)
    return kernel


def _install_python(root: Path, log: Path) -> None:
    """The locked dependencies for the guest's Python, whichever Python runs here."""
    private = root / PRIVATE
    site = private / "lib/python3.11/site-packages"
    lock = root / "tmp/requirements.lock"
    lock.write_text(guest_lock())
    logged(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
         "--root-user-action=ignore", "--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version=3.11",
         "--implementation=cp", "--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64",
         "--target", str(site), "-r", str(lock)],
        log,
    )  # fmt: skip
    lock.unlink()
    (private / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n")
    (site / "rootswap.pth").write_text(f"/{PRIVATE}/src\n")
    (private / "bin").mkdir()
    (private / "bin/python").symlink_to("/usr/bin/python3")
    launcher = private / "bin/rootswap"
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)
    (root / "usr/local/bin/rootswap").symlink_to(f"/{PRIVATE}/bin/rootswap")
    logged(["chroot", str(root), f"/{PRIVATE}/bin/python", "-m", "compileall", "-q", f"/{PRIVATE}/lib"], log)


def _install_ours(root: Path) -> None:
    """The agent, its units, a host name, and no units that have no business here."""
    for name in _MASKED:
        unit = root / "etc/systemd/system" / name
        discard(unit)
        unit.symlink_to("/dev/null")
    for name, text in _DROP_INS.items():
        directory = root / f"etc/systemd/system/{name}.d"
        directory.mkdir()
        (directory / "guest.conf").write_text(text)
    for name, text in _SETTINGS.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost guest\n")
    (root / "etc/fstab").write_text("")  # the initrd has mounted the root already
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    files = Path(__file__).with_name("guest")
    (root / "opt/vm").mkdir()
    shutil.copy2(files / "agent.py", root / "opt/vm/agent.py")
    shutil.copy2(files / "agent.service", root / "etc/systemd/system/agent.service")
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    (wanted / "agent.service").symlink_to("/etc/systemd/system/agent.service")
    (root / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/multi-user.target")

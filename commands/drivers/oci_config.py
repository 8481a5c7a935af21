"""The ``config.json`` of a jail, as in the OCI runtime specification 1.0.2. Pure: the same jail gives the same file."""

import json
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from commands.drivers.base import JailSpec
from commands.drivers.jail_layout import DEFAULT_PATH, cgroup_of, dropped_capabilities, ordered_volumes, scratch
from commands.errors import DriverError

Object = dict[str, JsonValue]

#: Every capability of Linux 6.1 in the order of its number, see linux/capability.h.
CAPABILITIES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip

#: What the kernel tells or lets change below /proc and /sys that is no business of a jail.
_MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/sched_debug", "/proc/timer_list", "/sys/firmware")
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

#: What the administrator's settings may not change, since rootswap goes by it: the keys, outermost first.
_OURS = (("root",), ("process", "terminal"), ("linux", "cgroupsPath"))


def rendered(
    jail: JailSpec, directory: str, held: int, settings: bytes | None = None, network: str | None = None
) -> str:
    """The ``config.json`` of the jail whose files are in ``directory``.

    ``held`` are the capabilities that rootswap itself has, as a bit mask: no runtime can give more. ``network`` is the
    file of the network namespace to join. ``settings`` is the administrator's JSON, merged over as RFC 7396 says.
    Raises DriverError for a volume without a place and for settings that cannot be merged.
    """
    config: Object = {
        "ociVersion": "1.0.2",
        "hostname": jail.name,
        "root": {"path": jail.root, "readonly": True},
        "process": _process(jail, held),
        "mounts": [*_kernel_mounts(), *_mounts(jail)],
        "linux": {
            "cgroupsPath": f"/{cgroup_of(directory)}/payload",
            "namespaces": _namespaces(jail, network),
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }
    if settings is not None:
        config = merged(config, _parsed(jail, settings))
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def merged(under: Object, over: Mapping[str, JsonValue]) -> Object:
    """``over`` laid over ``under``: tables are merged, null takes a key away, everything else is replaced."""
    result = dict(under)
    for key, value in over.items():
        there = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(there if isinstance(there, dict) else {}, value)
        else:
            result[key] = value
    return result


def _process(jail: JailSpec, held: int) -> JsonValue:
    dropped = dropped_capabilities(jail.network)
    kept: list[JsonValue] = [
        f"CAP_{name.upper()}" for number, name in enumerate(CAPABILITIES) if name not in dropped and held & 1 << number
    ]
    environment = {"container": "oci", "PATH": DEFAULT_PATH, **dict(jail.environment)}
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "cwd": "/",
        "args": list(jail.command),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "capabilities": {"bounding": kept, "effective": kept, "permitted": kept},
        # As under LXC: a mail server or sudo in a jail needs its set-user-ID programs. The settings may say otherwise.
        "noNewPrivileges": False,
    }


def _namespaces(jail: JailSpec, network: str | None) -> list[JsonValue]:
    kinds: list[JsonValue] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")]
    return kinds if network is None else [*kinds, {"type": "network", "path": network}]


def _kernel_mounts() -> Iterable[JsonValue]:
    yield _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev")
    yield _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    yield _mount("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "mode=755", "size=64k")
    yield _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    yield _mount("/dev/shm", "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777")  # noqa: S108 the jail's own
    yield _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")


def _mounts(jail: JailSpec) -> Iterable[JsonValue]:
    """Scratch file systems first, then the volumes, the outer before the inner."""
    for path, mode in scratch(jail):
        yield _mount(path, "tmpfs", "tmpfs", "nosuid", "nodev", f"mode={mode}")
    for volume in ordered_volumes(jail):
        yield _mount(volume.path, "bind", volume.source, "bind", "rw")


def _mount(path: str, kind: str, source: str, *options: str) -> JsonValue:
    return {"destination": path, "type": kind, "source": source, "options": list(options)}


def _parsed(jail: JailSpec, settings: bytes) -> Mapping[str, JsonValue]:
    try:
        found: JsonValue = json.loads(settings)
    except ValueError as error:
        raise DriverError(f"cannot use {jail.settings}: it is not JSON ({error})", remedy="correct it") from error
    if not isinstance(found, dict):
        raise DriverError(f"cannot use {jail.settings}: it is not a JSON object", remedy="begin it with {")
    for path in _OURS:
        inner: JsonValue = found
        for key in path:
            inner = inner.get(key, False) if isinstance(inner, dict) else False
        if inner is not False or (len(path) > 1 and path[0] in found and not isinstance(found[path[0]], dict)):
            raise DriverError(
                f"cannot use {jail.settings}: {'.'.join(path)} is rootswap's to say", remedy="take that key out"
            )
    return found

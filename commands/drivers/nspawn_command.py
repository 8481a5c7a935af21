"""The command lines for systemd-nspawn, as argument lists. Pure: the same jail always gives the same command."""

import re
from collections.abc import Iterator, Sequence

from commands.drivers.base import JailSpec
from commands.drivers.jail_layout import DEFAULT_PATH, digest_of, dropped_capabilities, ordered_volumes
from commands.drivers.oci_config import CAPABILITIES
from commands.errors import DriverError

#: Where nspawn puts things of its own that a volume would hide; it then refuses to start.
_TAKEN = "/run"

#: Options that decide where the jail's processes are and what its root is: rootswap goes by them.
_OURS = ("--directory", "--image", "--template", "--ephemeral", "--machine", "--keep-unit", "--register", "--slice",
         "--console", "--pipe", "--read-only", "--volatile", "--quiet", "--settings", "--boot", "--as-pid2",
         "--help", "--version", "--oci-bundle", "--network-namespace-path")  # fmt: skip

#: Joins the namespaces of a jail's first process, but for the mounts: setpriv has to be the host's own. Then the
#: capabilities go, the root becomes the jail's, and nothing of our environment is left. The cgroup comes first, so
#: that what the command leaves behind ends with the jail.
_ENTER = """\
echo 0 >"$1/cgroup.procs" || exit 1
pid=$2 kept=$3; shift 3
exec nsenter --target "$pid" --uts --ipc --net --pid --cgroup -- \
    setpriv --bounding-set="$kept" --inh-caps=-all env -i "$@"
"""


def start_command(jail: JailSpec, directory: str, settings: str = "", network: str | None = None) -> list[str]:
    """The command that runs the jail whose files are in ``directory``, in the foreground.

    ``settings`` are the administrator's: an option on each line, which come last. ``network`` is the file of the
    network namespace to join. Raises DriverError for what nspawn could not be told.
    """
    return ["systemd-nspawn", *_options(jail, directory, network), *_extra(jail, settings), "--", *jail.command]


def unit_command(unit: str, description: str, argv: Sequence[str]) -> list[str]:
    """The command that runs ``argv`` as a transient service of the systemd that runs the host."""
    properties = ("Delegate=yes", "KillMode=mixed", "TasksMax=infinity")
    options = [f"--property={one}" for one in properties]
    named = [f"--unit={unit}", "--slice=rootswap.slice", f"--description={description}"]
    return ["systemd-run", "--quiet", "--collect", "--service-type=exec", *named, *options, "--", *argv]


def enter_command(jail: JailSpec, cgroup: str, pid: int, kept: int, chroot: str, argv: Sequence[str]) -> list[str]:
    """The command that runs ``argv`` in a jail whose first process is ``pid`` in ``cgroup``, with its environment and
    the capabilities ``kept`` (a bit mask). ``chroot`` is the host's program: it is not to be looked for in the jail's
    PATH."""
    names = [f"+{name}" for number, name in enumerate(CAPABILITIES) if kept & 1 << number]
    variables = [f"{name}={value}" for name, value in _environment(jail)]
    words = [cgroup, str(pid), ",".join(["-all", *names]), *variables, chroot, f"/proc/{pid}/root", *argv]
    return ["/bin/sh", "-c", _ENTER, "sh", *words]


def machine_of(jail: JailSpec, directory: str) -> str:
    """What nspawn calls the jail whose files are in ``directory``; names are known to the whole host."""
    return f"{_host_name(jail)}-{digest_of(directory)}"


def _options(jail: JailSpec, directory: str, network: str | None) -> Iterator[str]:
    yield from ("--quiet", "--register=no", "--keep-unit", "--settings=no", "--console=pipe")
    yield from (f"--machine={machine_of(jail, directory)}", f"--hostname={_host_name(jail)}")
    yield from (f"--directory={jail.root}", "--read-only", "--volatile=no", "--private-users=no")
    # The root is read-only and the jail's name resolution, time zone and journal are its own.
    yield from ("--resolv-conf=off", "--timezone=off", "--link-journal=no")
    yield f"--kill-signal={jail.stop_signal}"
    yield f"--drop-capability={','.join(f'CAP_{name.upper()}' for name in dropped_capabilities(jail.network))}"
    if network is not None:
        yield f"--network-namespace-path={network}"
        yield "--capability=CAP_NET_ADMIN"
    for volume in ordered_volumes(jail):
        if volume.path.rstrip("/") == _TAKEN:
            remedy = "name another directory, or use another driver for this jail"
            raise DriverError(f"cannot mount a volume of jail {jail.name} at /run: nspawn needs it", remedy=remedy)
        yield f"--bind={_escaped(volume.source)}:{_escaped(volume.path)}"
    yield from (f"--setenv={name}={value}" for name, value in _environment(jail))


def _environment(jail: JailSpec) -> Iterator[tuple[str, str]]:
    yield from {"PATH": DEFAULT_PATH, **dict(jail.environment)}.items()


def _extra(jail: JailSpec, settings: str) -> Iterator[str]:
    for line in (line.strip() for line in settings.splitlines()):
        if not line or line.startswith("#"):
            continue
        name = line.partition("=")[0]
        if not re.fullmatch(r"--[a-z0-9-]+", name):
            raise DriverError(f"cannot use {jail.settings}: {line[:60]!r} is not --OPTION or --OPTION=VALUE")
        if any(ours.startswith(name) for ours in _OURS):  # nspawn takes shortened names
            raise DriverError(f"cannot use {jail.settings}: {name} is rootswap's to say", remedy="take that line out")
        yield line


def _host_name(jail: JailSpec) -> str:
    """The jail's name as far as a host may be called so."""
    return re.sub(r"[^a-z0-9]+", "-", jail.name).strip("-")


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")

"""Which operating system a host runs, asked through the door: never that of the machine that Python runs on."""

from typing import Literal

from commands.drivers.base import Host
from commands.errors import DriverError

System = Literal["Linux", "FreeBSD"]

#: Only Linux has it, and looking costs no process.
_LINUX_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_KENV = "rootswap.boot_id"


def system_of(host: Host) -> System:
    """Linux or FreeBSD. Raises DriverError for any other."""
    if host.stat(_LINUX_BOOT_ID) is not None:
        return "Linux"
    name = host.run(["uname", "-s"]).stdout.strip()
    if name == "FreeBSD":
        return "FreeBSD"
    if name == "Linux":
        return "Linux"
    raise DriverError(f"cannot work on {name or 'this host'}: only Linux and FreeBSD are known")


def boot_id_of(host: Host) -> str:
    """What tells this boot of the host from the next.

    Linux has a random id of each boot. FreeBSD has none (there is no kern.bootid), only ``kern.boottime``: the clock
    less the uptime, so it moves whenever the clock is set. What it was when rootswap first looked is therefore kept in
    the kernel's environment, kenv(1), which lasts exactly as long as the kernel runs. Where that is refused the
    boot time itself has to do: after a step of the clock an open transaction then looks as if the machine had been
    rebooted in it, and is taken back rather than finished, which is always safe.
    """
    if host.stat(_LINUX_BOOT_ID) is not None:
        return host.read(_LINUX_BOOT_ID).decode().strip()
    kept = host.run(["kenv", "-q", _KENV], check=False)
    if kept.status == 0 and kept.stdout.strip():
        return kept.stdout.strip()
    seen = parsed_boottime(host.run(["sysctl", "-n", "kern.boottime"]).stdout)
    host.run(["kenv", f"{_KENV}={seen}"], check=False)
    return seen


def parsed_boottime(printed: str) -> str:
    """Seconds and microseconds of ``{ sec = 1795353924, usec = 180917 } Sun Nov 22 13:25:24 2026``.

    The microseconds are what makes it differ on a machine whose clock starts at the same second each time.
    """
    words = printed.replace(",", " ").split()
    try:
        seconds, microseconds = (int(words[words.index(unit) + 2]) for unit in ("sec", "usec"))
    except (ValueError, IndexError) as error:
        raise DriverError(f"cannot tell this boot from the next: kern.boottime is {printed.strip()[:60]!r}") from error
    return f"{seconds}.{microseconds:06d}"

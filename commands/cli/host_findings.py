"""What ``doctor`` says of the host that the jails run on: this machine, or the one at the other end of ssh."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from commands.bootstrap import AnyHost, make_drivers, open_host
from commands.cli.boot import boot_findings
from commands.cli.checkup import Finding
from commands.cli.guards import secret_findings
from commands.cli.output import size
from commands.config import Config
from ledger.errors import RootswapError

if TYPE_CHECKING:
    from commands.drivers.base import Storage
    from commands.drivers.door import Host

#: The programs that a driver or method calls.
TOOLS = {
    "btrfs": ("btrfs", "mkfs.btrfs", "mount", "umount", "cp", "truncate"),
    "zfs": ("zfs", "zpool", "mount", "umount", "cp", "find", "chmod"),
    "directory": ("mount", "umount", "cp", "rm", "find"),
    "lvm": (
        *("lvs", "vgs", "lvcreate", "lvchange", "lvremove", "lvrename"),
        *("blkid", "mount", "umount", "cp", "find", "od", "sync"),
    ),
    "ext4": ("mkfs.ext4",),
    "xfs": ("mkfs.xfs",),
    "lxc": ("lxc-start", "lxc-stop", "lxc-info", "lxc-attach"),
    "nspawn": ("systemd-nspawn", "nsenter", "setpriv", "unshare"),
    "jail": ("jail", "jls", "jexec", "mount", "umount"),
    "debian": ("unshare", "mmdebstrap"),
    "tar": ("unshare", "tar"),
    "script": ("unshare",),
    "apt": ("unshare", "chroot"),
    "checkpoints": ("ssh-keygen",),
    "ssh": ("ssh",),
}
#: Those that run where the ledger is, wherever the host is.
_HERE = ("checkpoints", "ssh")
_EXECUTABLE = 0o111


def host_findings(config: Config) -> Iterator[Finding]:
    """The host, its tools, the pool, the files with secrets, and what happens when it boots."""
    try:
        host = open_host(config)
        if config.host.ssh is not None:
            yield Finding("host", "ok", f"{config.host.ssh}, booted as {host.boot_id()}")
        yield from tool_findings(config, host)
        if os.geteuid() == 0:
            yield from _pool(config, host)
            yield from secret_findings(config, host)
    except RootswapError as error:
        yield Finding("host", "bad", error.message, error.remedy)
    yield from boot_findings(config)


def tool_findings(config: Config, host: "Host") -> Iterator[Finding]:
    """Whether the programs are there that the configuration calls for."""
    from commands.drivers.host import LocalHost

    wanted = _wanted(config)
    for name in sorted(wanted):
        yield _tools(name, wanted[name], LocalHost() if name in _HERE else host)


def _wanted(config: Config) -> dict[str, tuple[str, ...]]:
    from commands.drivers.oci import DEFAULT_RUNTIME

    runtimes = {jail.runtime or DEFAULT_RUNTIME for jail in config.jail.values() if jail.driver == "oci"}
    known = {**TOOLS, "oci": tuple(sorted(runtimes))}
    wanted = {"checkpoints", config.storage.driver} | ({jail.driver for jail in config.jail.values()} or {"lxc"})
    wanted |= {"ssh"} if config.host.ssh is not None else set()
    wanted |= {config.storage.file_system} if config.storage.driver == "lvm" else set()
    wanted |= {template.bootstrap for template in config.template.values()}
    wanted |= {"apt" for template in config.template.values() if template.upgrade == "apt"}
    return {name: known[name] for name in wanted & known.keys()}


def _tools(driver: str, tools: tuple[str, ...], host: "Host") -> Finding:
    from commands.drivers.platform import system_of

    tools = tuple(tool for tool in tools if tool != "unshare" or system_of(host) == "Linux")
    missing = [tool for tool in tools if not _is_there(tool, host)]
    if missing:
        return Finding(f"tools of {driver}", "bad", f"missing: {', '.join(missing)}", "install them")
    return Finding(f"tools of {driver}", "ok", ", ".join(tools))


def _is_there(tool: str, host: "Host") -> bool:
    from commands.drivers.host import ENVIRONMENT

    places = [tool] if tool.startswith("/") else [f"{place}/{tool}" for place in ENVIRONMENT["PATH"].split(":")]
    found = (host.stat(place, follow=True) for place in places)
    return any(one is not None and one.is_file and one.mode & _EXECUTABLE for one in found)


def _without_apt(config: Config, host: AnyHost, storage: "Storage") -> Iterator[Finding]:
    """Templates that were built without what they are to be upgraded with."""
    from commands.drivers.builders import NO_APT, has_apt

    for name, head in storage.templates():
        template = config.template.get(name)
        if template and template.upgrade == "apt" and not has_apt(host, storage.template_path(name, head)):
            yield Finding(f"template {name}", "warning", "it is to be upgraded by apt, which is not in it", NO_APT)


def _pool(config: Config, host: AnyHost) -> Iterator[Finding]:
    from commands.drivers.base import Presence
    from commands.transactions.interrupt import Interrupt
    from commands.transactions.pool import pool_spec
    from ledger.clock import SystemClock

    drivers = make_drivers(config, host, SystemClock(), Interrupt())
    pool = pool_spec(config)
    try:
        match drivers.storage.pool_mounted(pool):
            case Presence.PRESENT:
                space = drivers.storage.space()
            case Presence.FOREIGN:
                remedy = "unmount it, or choose another path in the [storage] table"
                yield Finding("pool", "bad", f"what is at {pool.path} is not ours", remedy)
                return
            case _:
                yield Finding("pool", "warning", f"{pool.path} is not mounted", "`rootswap init` or `rootswap recover`")
                return
    except RootswapError as error:
        yield Finding("pool", "bad", error.message, error.remedy)
        return
    metadata = space.metadata_free_bytes
    told = f"{size(space.data_free_bytes)} of {size(space.size_bytes)} free"
    told += f", metadata {size(metadata)} free" if metadata is not None else ""
    reserve = space.metadata_reserve_bytes
    is_low = space.data_free_bytes < config.storage.keep_free or (metadata is not None and metadata < reserve)
    remedy = "`rootswap release destroy` what is not used any more"
    yield Finding("pool", "bad", told, remedy) if is_low else Finding("pool", "ok", f"{pool.path}, {told}")
    yield from _without_apt(config, host, drivers.storage)
    for caution in space.cautions:
        yield Finding("pool", "warning", caution)

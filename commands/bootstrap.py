"""The composition root: from a configuration to drivers, a ledger and an engine.

Everything that the rest takes as a parameter is chosen here, once.
"""

import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from commands import __version__
from commands.config import Config
from commands.drivers.base import Drivers, Host, Jails, Storage
from commands.drivers.btrfs_subvolumes import BtrfsHost
from commands.drivers.identity import identify, login_uid
from commands.drivers.trees import TreeHost
from commands.errors import ConfigError, DriverError
from commands.transactions.interrupt import Interrupt
from ledger.authority import Person
from ledger.clock import Clock, SystemClock
from ledger.codec import Actor, Origin
from ledger.names import new_transaction_id

# Imported where they are used: a command that only reads does not pay for an engine.
if TYPE_CHECKING:
    from commands.drivers.base import Builder
    from commands.drivers.zfs_pool import ZfsMounts
    from commands.recovery.recover import Recoverer
    from commands.transactions.engine import Engine, Observer
    from commands.transactions.gatekeeper import Gatekeeper
    from commands.transactions.proposals import Proposals
    from commands.transactions.requests import Requests
    from commands.transactions.sealing import Sealed, Sealer
    from ledger.writer import LedgerWriter

    #: What differs from system to system: the mount table, how roots are built, and how each jail runtime is made.
    Platform = tuple[ZfsMounts, Builder, Mapping[str, Callable[[], Jails]]]


#: Who acts where nobody has asked the kernel: rehearsals and tests.
ROOT = Person(uid=0, login="root", source="uid")


@dataclass(frozen=True, slots=True)
class Session:
    """An engine that holds the ledger, and what is needed to drive it.

    ``sealed`` is what came of sealing the ledger before anything began; None where nothing is sealed (rehearsals).
    """

    config: Config
    ledger: "LedgerWriter"
    drivers: Drivers
    engine: "Engine"
    requests: "Requests"
    recoverer: "Recoverer"
    gatekeeper: "Gatekeeper"
    proposals: "Proposals"
    sealer: "Sealer | None" = None
    sealed: "Sealed | None" = None


class Runtimes(Mapping[str, Jails]):
    """The jail runtimes of a host by their names in the configuration. One that it cannot have is a DriverError.

    Each is made, and wrapped, when it is first asked for: while a jail is down, nothing is to be read that does not
    serve it.
    """

    def __init__(self, system: str, makers: Mapping[str, Callable[[], Jails]], wrap: Callable[[Jails], Jails]) -> None:
        self._system = system
        self._makers = makers
        self._wrap = wrap
        self._made: dict[str, Jails] = {}

    def __getitem__(self, name: str) -> Jails:
        """The runtime of that name. Raises DriverError."""
        if name not in self._makers:
            remedy = f"choose among {', '.join(self)} as the driver of the jail"
            raise DriverError(f"cannot run jails by {name}: the host runs {self._system}", remedy=remedy)
        if name not in self._made:
            self._made[name] = self._wrap(self._makers[name]())
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        """Whether the host can have it."""
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._makers)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._makers)


class AnyHost(BtrfsHost, TreeHost, Protocol):
    """A host that every storage driver can work on."""


def open_host(config: Config, lock_fd: int | None = None, *, is_patient: bool = True) -> AnyHost:
    """The host that the configuration names; nothing is asked of it yet. Raises DriverError.

    ``lock_fd`` is inherited by the commands that run on this machine. One who only looks tries to reach it once.
    """
    from commands.drivers.host import LocalHost

    local = LocalHost(lock_fd=lock_fd)
    if config.host.ssh is None:
        return local
    from commands.drivers.ssh import SshHost
    from commands.drivers.ssh_link import Address
    from commands.drivers.trusted import require_trusted

    if config.host.ssh_config is not None:
        require_trusted(local, config.host.ssh_config)  # It can name commands that ssh runs.
    address = Address(config.host.ssh, config.ssh_directory, config.host.ssh_config)
    return SshHost(address, local, patience_s=config.host.patience_s if is_patient else 0.0)


def make_drivers(config: Config, host: AnyHost, clock: Clock, interrupt: Interrupt) -> Drivers:
    """The drivers that the configuration asks for, on one host: those of the system that the host says it is.

    Only these are loaded: while a jail is down, and at the start of a command, nothing else is to be read.
    """
    from commands.drivers.health import HostHealth
    from commands.drivers.platform import system_of
    from commands.drivers.roots import inspect_root
    from commands.drivers.secret_files import Secrets
    from commands.drivers.secret_jails import SecretJails, roots_own

    system = system_of(host)
    mounts, builder, makers = (_on_freebsd if system == "FreeBSD" else _on_linux)(config, host, clock)
    secrets = Secrets(roots_own(host))
    jails = Runtimes(system, makers, lambda runtime: SecretJails(runtime, secrets))
    return Drivers(
        storage=_storage(config, host, mounts),
        mounts=mounts,
        jails=jails,
        health=HostHealth(host, jails),
        builder=builder,
        clock=clock,
        cancelled=lambda: interrupt.signal is not None,
        inspect_root=lambda root, jail: inspect_root(host, root, jail, system),
        secrets=secrets,
        read=host.read,
    )


def _on_linux(config: Config, host: BtrfsHost, clock: Clock) -> "Platform":
    from commands.drivers.builders import RootBuilder
    from commands.drivers.mounts import LinuxMounts

    def lxc() -> Jails:
        from commands.drivers.lxc import LxcJails

        return LxcJails(host, f"{config.state_directory}/lxc")

    def oci() -> Jails:
        from commands.drivers.oci import OciJails

        return OciJails(host, f"{config.state_directory}/oci", clock)

    def nspawn() -> Jails:
        from commands.drivers.nspawn import NspawnJails

        return NspawnJails(host, f"{config.state_directory}/nspawn", clock)

    return LinuxMounts(host), RootBuilder(host), {"lxc": lxc, "oci": oci, "nspawn": nspawn}


def _on_freebsd(config: Config, host: BtrfsHost, clock: Clock) -> "Platform":
    from commands.drivers.builders_freebsd import FreeBsdBuilder
    from commands.drivers.jail import FreeBsdJails
    from commands.drivers.mounts_freebsd import FreeBsdMounts

    return (
        FreeBsdMounts(host),
        FreeBsdBuilder(host),
        {"jail": lambda: FreeBsdJails(host, f"{config.state_directory}/jail", clock)},
    )


def _storage(config: Config, host: AnyHost, mounts: "ZfsMounts") -> Storage:
    from commands.transactions.pool import pool_spec

    pool = pool_spec(config)
    match config.storage.driver:
        case "btrfs":
            from commands.drivers.btrfs import BtrfsStorage

            return BtrfsStorage(host, pool)
        case "zfs":
            from commands.drivers.zfs import ZfsStorage

            return ZfsStorage(host, mounts, pool)
        case "directory":
            from commands.drivers.directory import DirectoryStorage

            return DirectoryStorage(host, pool)
        case "lvm":
            from commands.drivers.lvm import LvmStorage, NewVolumes

            wanted = config.storage
            return LvmStorage(host, pool, NewVolumes(wanted.file_system, wanted.root_size, wanted.volume_size))


def make_origin(boot_id: str, invoked: tuple[str, ...], person: Person | None = None) -> Origin:
    """Who acts, from where, with which version: borne by every record of this process."""
    login = (person or identify()).login
    return Origin(
        host_id=_host_id(),
        boot_id=boot_id,
        engine_version=__version__,
        actor=Actor(uid=os.getuid(), login=login, login_uid=login_uid(), invoked=invoked, tty=_tty()),
    )


@contextmanager
def open_session(
    config: Config,
    *,
    interrupt: Interrupt,
    observer: "Observer",
    invoked: tuple[str, ...] = tuple(sys.argv),
    create: bool = False,
) -> Iterator[Session]:
    """An engine on this machine. With ``create``, the ledger is made if it is missing.

    Raises LedgerLocked when another engine holds the ledger, LedgerMissing when there is none.
    """
    from commands.drivers.host import LocalHost
    from commands.transactions.sealing import make_sealer, new_key
    from ledger.writer import LedgerWriter

    clock = SystemClock()
    _require_real(LocalHost(), config.state_directory)
    person = identify()
    boot_id = LocalHost().boot_id()
    if config.host.ssh is not None:
        other = open_host(config)
        _require_real(other, config.state_directory)
        boot_id = f"{other.boot_id()} {boot_id}"  # When either machine has booted, nothing is as it was.
    origin = make_origin(boot_id, invoked, person)
    directory = Path(config.ledger_directory)
    with ExitStack() as stack:
        if create:
            key = new_key(config, LocalHost(), directory)
            ledger = stack.enter_context(LedgerWriter.create(directory, origin, clock, key=key))
        else:
            ledger = stack.enter_context(LedgerWriter.open(directory, origin, clock))
        drivers = make_drivers(config, open_host(config, ledger.lock_fd), clock, interrupt)
        sealer = make_sealer(config, ledger, LocalHost(lock_fd=ledger.lock_fd), socket.gethostname(), clock)
        sealed = sealer.seal()
        session = compose(config, ledger, drivers, interrupt, observer, origin.boot_id, sealer, person)
        yield replace(session, sealed=sealed)


def compose(
    config: Config,
    ledger: "LedgerWriter",
    drivers: Drivers,
    interrupt: Interrupt,
    observer: "Observer",
    boot_id: str,
    sealer: "Sealer | None" = None,
    person: Person = ROOT,
) -> Session:
    """An engine on given drivers and a given ledger, which seals if ``sealer`` is given; ``person`` acts."""
    from commands.recovery.recover import Recoverer
    from commands.transactions.engine import Engine
    from commands.transactions.gatekeeper import Gatekeeper
    from commands.transactions.proposals import Proposals
    from commands.transactions.requests import Requests

    def seal() -> str | None:
        return None if sealer is None else sealer.seal().warning

    gatekeeper = Gatekeeper(ledger, config, person, drivers.clock)
    engine = Engine(ledger, drivers, interrupt, observer, seal, gatekeeper.admit)
    requests = Requests(ledger, drivers, config, new_transaction_id)
    recoverer = Recoverer(engine, config, boot_id, new_transaction_id)
    proposals = Proposals(ledger, requests, config, person, drivers, seal)
    return Session(config, ledger, drivers, engine, requests, recoverer, gatekeeper, proposals, sealer)


_OTHERS_WRITE = 0o022


def _require_real(host: Host, path: str) -> None:
    """Raise ConfigError if a symlink leads to the state directory, or if others than root can exchange what is in it.

    The mount table knows its mounts by real paths; and what the ledger and its keys say is obeyed.
    """
    found = host.stat(path, follow=True)
    if found is None:
        return
    if found.mode & _OTHERS_WRITE or found.uid not in (0, os.geteuid()):
        raise ConfigError(
            f"cannot trust state_directory {path}: others than root can change it",
            remedy=f"chown root {path}; chmod 700 {path}; then hold it against `rootswap audit verify --since`",
        )
    try:
        host.resolve_beneath("/", path)
    except DriverError as error:
        raise ConfigError(
            f"cannot use state_directory {path}: {error.message}", remedy="name the directory that is meant"
        ) from error


def _host_id() -> str:
    for path in ("/etc/machine-id", "/etc/hostid"):
        try:
            content = Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if content:
            return content
    return socket.gethostname() or platform.node() or "unknown"


def _tty() -> str | None:
    for descriptor in (0, 1, 2):
        try:
            return os.ttyname(descriptor)
        except OSError:
            continue
    return None

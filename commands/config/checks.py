"""What a configuration must fulfil beyond the shape of each key: pure, every mistake is found in one go."""

import re
import signal
from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import ip_address, ip_interface
from pathlib import PurePosixPath

from commands.config.policy_checks import in_jail_policy, in_policy
from commands.config.shapes import (
    Config,
    HealthConfig,
    HostConfig,
    JailConfig,
    NetworkConfig,
    SinkConfig,
    StorageConfig,
    TemplateConfig,
)

KeyPath = tuple[str, ...]
Found = Iterator[tuple[KeyPath, str]]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TCP = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]/\s]+):(\d{1,5})")
_HTTP = re.compile(r"https?://(?:\[[0-9A-Fa-f:.%]+\]|[^\s/?#\[\]:@]+)(?::(\d{1,5}))?(?:[/?#]\S*)?")
_RUNTIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|/(?!.*\.\.)[^\n]+")
_SYSLOG = re.compile(r"(?:udp|tcp)://[^\s/]+:\d{1,5}|unix:/\S+")
_THIN_POOL = re.compile(r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]*/[A-Za-z0-9+_.][A-Za-z0-9+_.-]*")
#: What mkfs.xfs(8) refuses to go below, and what leaves ext4 room for a journal.
_SMALLEST_BYTES = {"ext4": 64 << 20, "xfs": 300 << 20}
#: As ssh(1) takes it: never a word that it could read as an option, nor one that it would expand.
_DESTINATION = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9_.:-]*")
_MAX_PORT = 65535
#: As the kernel of Linux takes it (dev_valid_name), less what the tools read otherwise.
_INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,14}")
#: As zfs(8) has it, less the blanks; never the data set of the zpool itself.
_DATASET = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]*(/[A-Za-z0-9][A-Za-z0-9_.:-]*)+")
#: ZFS allows 255 for data set and snapshot together; names of ours come after it.
_DATASET_LENGTH = 100


def mistakes_in(config: Config) -> list[tuple[KeyPath, str]]:
    """Every mistake: the key, and what is wrong with it."""
    found = [*_in_places(config), *_in_host(config.host), *_in_storage(config)]
    for name, template in config.template.items():
        found.extend(((("template", name, *path), text)) for path, text in _in_template(template))
    for name, jail in config.jail.items():
        found.extend(((("jail", name, *path), text)) for path, text in _in_jail(jail, config))
    found.extend((("policy", *path), text) for path, text in in_policy(config.policy))
    for name, sink in config.audit.sinks.items():
        found.extend((("audit", "sinks", name, *path), text) for path, text in _in_sink(sink))
    return found


def _in_places(config: Config) -> Found:
    """The ledger must outlive everything that a transaction can swap."""
    state, pool = config.state_directory, config.storage.path
    own = {
        "ledger": config.ledger_directory,
        "keys": config.keys_directory,
        "jails": f"{state}/jails",
        "lxc": f"{state}/lxc",
        "oci": f"{state}/oci",
        "nspawn": f"{state}/nspawn",
        "jail": f"{state}/jail",
        "ssh": config.ssh_directory,
    }
    if PurePosixPath(state) == PurePosixPath("/"):
        yield ("state_directory",), "it is the root of the machine; give rootswap a directory of its own"
    if _is_beneath(state, pool):
        yield ("state_directory",), f"it is inside the pool {pool}; the ledger has to lie outside of it"
    for name, path in own.items():
        if _is_beneath(pool, path):
            yield ("storage", "path"), f"it is inside {path}, where rootswap keeps its {name}"
    image = config.storage.image
    if image is None:
        return
    if _is_beneath(image, pool):
        yield ("storage", "image"), f"it is inside the pool {pool}, which is mounted from it"
    for name, path in own.items():
        if _is_beneath(image, path):
            yield ("storage", "image"), f"it is inside {path}, where rootswap keeps its {name}"


def _in_host(host: HostConfig) -> Found:
    if host.ssh is None:
        if host.ssh_config is not None:
            yield ("host", "ssh_config"), "it needs ssh"
    elif not _DESTINATION.fullmatch(host.ssh):
        yield ("host", "ssh"), f"{host.ssh[:60]!r} is not a destination of ssh, as root@box"


def _in_storage(config: Config) -> Found:
    """Each driver has keys of its own."""
    storage = config.storage
    if storage.driver == "btrfs" and config.host.ssh is not None:
        yield ("storage", "driver"), "over ssh Btrfs cannot be asked what it has to be asked; choose another one"
    if storage.dataset is not None and storage.driver != "zfs":
        yield ("storage", "dataset"), 'it needs driver = "zfs"'
    if storage.thin_pool is not None and storage.driver != "lvm":
        yield ("storage", "thin_pool"), 'it needs driver = "lvm"'
    if storage.image is not None and storage.driver != "btrfs":
        makes = {"zfs": "; rootswap makes no zpool", "lvm": "; rootswap makes no thin pool"}
        yield ("storage", "image"), f'it needs driver = "btrfs"{makes.get(storage.driver, "")}'
    match storage.driver:
        case "zfs":
            yield from _in_dataset(storage.dataset)
        case "lvm":
            yield from _in_thin_pool(storage)
        case _:
            pass


def _in_dataset(dataset: str | None) -> Found:
    if dataset is None:
        yield ("storage", "dataset"), 'it is missing; driver = "zfs" needs one, as "tank/rootswap"'
    elif not _DATASET.fullmatch(dataset) or len(dataset) > _DATASET_LENGTH:
        yield (
            ("storage", "dataset"),
            f'{dataset[:60]!r} is not a data set in a zpool, as "tank/rootswap", of at most '
            f"{_DATASET_LENGTH} characters",
        )


def _in_thin_pool(storage: StorageConfig) -> Found:
    pool = storage.thin_pool
    if pool is None:
        yield ("storage", "thin_pool"), 'it is missing; driver = "lvm" needs one, as "vg0/thin"'
    elif not _THIN_POOL.fullmatch(pool):
        yield ("storage", "thin_pool"), f"{pool[:60]!r} is not GROUP/POOL, the names of a volume group and a thin pool"
    for key, size in (("root_size", storage.root_size), ("volume_size", storage.volume_size)):
        if size < _SMALLEST_BYTES[storage.file_system]:
            smallest = _SMALLEST_BYTES[storage.file_system] >> 20
            yield ("storage", key), f"it is less than the {smallest} MiB that {storage.file_system} needs"


def _in_template(template: TemplateConfig) -> Found:
    if template.bootstrap == "debian" and not template.suite:
        yield ("suite",), 'it is missing; bootstrap = "debian" needs one, as "bookworm"'
    if template.bootstrap != "debian" and template.file is None:
        yield ("file",), f'it is missing; bootstrap = "{template.bootstrap}" needs one'
    if template.upgrade == "script" and template.upgrade_script is None:
        yield ("upgrade_script",), 'it is missing; upgrade = "script" needs one'
    if template.sha256 is not None and not _SHA256.fullmatch(template.sha256):
        yield ("sha256",), "it is not 64 hexadecimal digits in lower case"
    if template.timeout_s <= 0:
        yield ("timeout_s",), "it has to be more than 0"


def _in_jail(jail: JailConfig, config: Config) -> Found:
    if jail.template not in config.template:
        near = get_close_matches(jail.template, config.template, n=1)
        hint = f"did you mean {near[0]}?" if near else f"configured: {', '.join(sorted(config.template)) or 'none'}"
        yield ("template",), f"there is no template {jail.template}; {hint}"
    if not jail.command:
        yield ("command",), "it is empty"
    elif not jail.command[0].startswith("/"):
        yield ("command",), f"{jail.command[0]!r} is not an absolute path inside the jail"
    if jail.runtime is not None and jail.driver != "oci":
        yield ("runtime",), 'it needs driver = "oci"'
    elif jail.runtime is not None and not _RUNTIME.fullmatch(jail.runtime):
        yield ("runtime",), f"{jail.runtime[:60]!r} is not the name of a program, as crun, nor an absolute path"
    if not _is_signal(jail.stop_signal):
        yield ("stop_signal",), f"{jail.stop_signal!r} is not a signal; name one as SIGTERM or SIGQUIT"
    for name in jail.environment:
        if not name or "=" in name or not name.isprintable():
            yield ("environment", name), "it cannot be the name of a variable"
    if jail.driver == "nspawn" and jail.environment_file is not None:
        yield ("environment_file",), 'with driver = "nspawn" every user of the host could read its values in ps'
    if jail.driver == "jail":
        yield from ((key, 'with driver = "jail" that is for jail.conf to say') for key in _for_jail_conf(jail))
    yield from _in_volumes(jail)
    yield from _in_quotas(jail, config)
    yield from ((("network", *path), text) for path, text in _in_network(jail.network))
    yield from ((("policy", *path), text) for path, text in in_jail_policy(jail.policy))
    for name, check in jail.health.items():
        yield from ((("health", name, *path), text) for path, text in _in_health(check))


def _for_jail_conf(jail: JailConfig) -> Iterator[KeyPath]:
    """What is set though the administrator's jail.conf is where it belongs."""
    if jail.network.kind != "host":
        yield ("network", "kind")
    if jail.environment:
        yield ("environment",)
    if jail.environment_file is not None:
        yield ("environment_file",)
    if jail.stop_signal != "SIGTERM":
        yield ("stop_signal",)


def _in_volumes(jail: JailConfig) -> Found:
    seen: dict[PurePosixPath, str] = {}
    for name, path in jail.volumes.items():
        here = PurePosixPath(path)
        if here == PurePosixPath("/"):
            yield ("volumes", name), "it is the root of the jail, which is read-only and swapped"
            continue
        for other, its_name in seen.items():
            if here == other:
                yield ("volumes", name), f"{path} is already the place of volume {its_name}"
            elif other in here.parents or here in other.parents:
                yield ("volumes", name), f"{path} and {other} of volume {its_name} lie in each other"
        seen[here] = name


def _in_quotas(jail: JailConfig, config: Config) -> Found:
    for name, quota in jail.quotas.items():
        if name not in jail.volumes:
            yield ("quotas", name), f"there is no volume {name}"
        elif config.storage.driver not in ("zfs", "lvm"):
            yield ("quotas", name), 'it needs driver = "zfs" or "lvm" in the [storage] table'
        elif config.storage.driver == "lvm" and quota < _SMALLEST_BYTES[config.storage.file_system]:
            smallest = _SMALLEST_BYTES[config.storage.file_system] >> 20
            yield ("quotas", name), f"it is less than the {smallest} MiB that {config.storage.file_system} needs"
        elif quota <= 0:
            yield ("quotas", name), "it has to be more than 0"


def _in_network(network: NetworkConfig) -> Found:
    given = [key for key in ("link", "interface", "address", "gateway") if getattr(network, key) is not None]
    if network.kind == "host" and given:
        yield (given[0],), 'it needs kind = "veth"'
    if network.kind == "veth" and network.gateway is not None and network.address is None:
        yield ("gateway",), "it needs an address"
    for key in ("link", "interface"):
        name = getattr(network, key)
        if name is not None and not _INTERFACE.fullmatch(name):
            yield (key,), f"{name[:60]!r} is not the name of a network interface: at most 15 characters, none of / : %"
    for key, value, parse in (("address", network.address, ip_interface), ("gateway", network.gateway, ip_address)):
        try:
            parse(value or "192.0.2.1")
        except ValueError:
            yield (key,), f"{value!r} is not an address, as {'192.0.2.2/24' if key == 'address' else '192.0.2.1'}"


def _in_health(check: HealthConfig) -> Found:
    kinds = [kind for kind in ("http", "tcp", "command") if getattr(check, kind) is not None]
    if len(kinds) != 1:
        said = " and ".join(kinds) or "none"
        yield (), f"it needs exactly one of http, tcp and command, and has {said}"
    if check.http is not None and not _is_url(check.http):
        yield ("http",), f"{check.http[:60]!r} is not a URL, as http://127.0.0.1:8080/"
    if check.tcp is not None:
        match = _TCP.fullmatch(check.tcp)
        if match is None or not 0 < int(match[2]) <= _MAX_PORT:
            yield ("tcp",), f"{check.tcp[:60]!r} is not ADDRESS:PORT, or [ADDRESS]:PORT for IPv6"
    if check.command is not None and not check.command:
        yield ("command",), "it is empty"


def _in_sink(sink: SinkConfig) -> Found:
    kinds = [kind for kind in ("directory", "syslog", "command") if getattr(sink, kind) is not None]
    if len(kinds) != 1:
        said = " and ".join(kinds) or "none"
        yield (), f"it needs exactly one of directory, syslog and command, and has {said}"
    if sink.syslog is not None and not _is_syslog(sink.syslog):
        yield ("syslog",), f"{sink.syslog[:60]!r} is not udp://HOST:PORT, tcp://HOST:PORT or unix:/PATH"
    if sink.command is not None and not sink.command:
        yield ("command",), "it is empty"


def _is_url(text: str) -> bool:
    found = _HTTP.fullmatch(text)
    return found is not None and text.isascii() and 0 < int(found[1] or 80) <= _MAX_PORT


def _is_syslog(text: str) -> bool:
    if _SYSLOG.fullmatch(text) is None:
        return False
    return text.startswith("unix:") or 0 < int(text.rpartition(":")[2]) <= _MAX_PORT


def _is_signal(name: str) -> bool:
    if name in signal.Signals.__members__:
        return name.startswith("SIG")
    number = re.fullmatch(r"SIGRTM(?:IN\+|AX-)(\d{1,2})", name)
    return number is not None and int(number[1]) <= signal.SIGRTMAX - signal.SIGRTMIN


def _is_beneath(path: str, directory: str) -> bool:
    inner, outer = PurePosixPath(path), PurePosixPath(directory)
    return inner == outer or outer in inner.parents

"""A network namespace for a jail whose runtime sets up no network: one pair of interfaces, one end of it in there."""

from commands.drivers.base import Host, JailSpec
from commands.drivers.jail_layout import digest_of
from commands.errors import DriverError, ToolMissing

_DIRECTORY = "/run/netns"

#: namespace, outer interface. Deleting one end of a pair deletes the other, at once; deleting the namespace would do it
#: some time later. After a reboot the file may be left without a namespace behind it: ip complains, and we remove it.
_REMOVE = """\
[ ! -e "/sys/class/net/$2" ] || ip link delete "$2" || [ ! -e "/sys/class/net/$2" ] || exit 1
[ ! -e "/run/netns/$1" ] || ip netns delete "$1" || rm -f "/run/netns/$1"
"""
#: The same and inner interface, then bridge, address, gateway, each empty if there is none.
_MAKE = f"""\
{_REMOVE}set -e
ip netns add "$1"
ip link add "$2" type veth peer name "$3" netns "$1"
[ -z "$4" ] || ip link set "$2" master "$4"
ip link set "$2" up
ip -n "$1" link set lo up
[ -z "$5" ] || case $5 in
    *:*) ip -n "$1" address add "$5" dev "$3" nodad ;;
    *) ip -n "$1" address add "$5" dev "$3" ;;
esac
ip -n "$1" link set "$3" up
[ -z "$6" ] || ip -n "$1" route add default via "$6" dev "$3"
"""


def namespace_of(jail: JailSpec, home: str) -> str | None:
    """The file of the jail's own network namespace; None where it shares the network of the host."""
    return f"{_DIRECTORY}/{_names(home)[0]}" if jail.network.kind == "veth" else None


def require_network_tools(host: Host, jail: JailSpec) -> None:
    """Whether a network can be made for the jail. Raises ToolMissing."""
    if jail.network.kind == "veth":
        host.run(["ip", "-V"])


def require_link(host: Host, jail: JailSpec) -> None:
    """Whether the bridge is there that the jail's interface is to join: a missing one is not to be met after the stop.

    Where there is no ip(8) to ask, nothing is concluded. Raises DriverError.
    """
    link = jail.network.link
    if jail.network.kind != "veth" or link is None:
        return
    try:
        asked = host.run(["ip", "link", "show", "dev", link], check=False)
    except ToolMissing:  # LXC does without
        return
    if asked.status != 0:
        remedy = "make it, or mend network.link of the jail; `ip link show type bridge` lists what there is"
        raise DriverError(f"cannot run jail {jail.name}: there is no bridge {link} on the host", remedy=remedy)


def make_network(host: Host, jail: JailSpec, home: str) -> None:
    """Make the jail's network namespace anew, with its interface up. Raises DriverError with ip(8)'s own words."""
    network = jail.network
    if network.kind != "veth":
        return
    optional = (network.link or "", network.address or "", network.gateway or "")
    argv = [*_names(home), network.interface or "eth0", *optional]
    completed = host.run(["/bin/sh", "-c", _MAKE, "sh", *argv], check=False)
    if completed.status != 0:
        remove_network(host, jail, home)
        cause = next(iter(completed.stderr.strip().splitlines()), "no reason given")
        raise DriverError(f"cannot make the network of jail {jail.name}: {cause}")


def remove_network(host: Host, jail: JailSpec, home: str) -> None:
    """Remove the jail's network namespace and its interfaces; not there is success."""
    if jail.network.kind == "veth" and host.stat(f"{_DIRECTORY}/{_names(home)[0]}") is not None:
        host.run(["/bin/sh", "-c", _REMOVE, "sh", *_names(home)])


def _names(home: str) -> tuple[str, str]:
    """The namespace and the interface that stays outside; the kernel allows 15 letters for the latter."""
    return f"rootswap-{digest_of(home)}", f"rs{digest_of(home)}"

"""How jls(8) shows jails: as JSON, where with -n every number is a string, as words and as a table."""

import json
from collections.abc import Sequence

from tests.fakes.jail_model import Jail

#: Every parameter of a jail in the order of `jls -n`, as FreeBSD 15.1 tells it of a jail that has nothing special.
_ALL: dict[str, object] = {
    "devfs_ruleset": "0", "dying": False, "enforce_statfs": "2", "env": "", "host": "new", "ip4": "disable",
    "ip6": "disable", "jid": "0", "meta": "", "name": "", "osreldate": "1501000", "osrelease": "15.1-RELEASE-p1",
    "parent": "0", "path": "", "persist": True, "securelevel": "-1", "sysvmsg": "disable", "sysvsem": "disable",
    "sysvshm": "disable", "vnet": "inherit", "zfs": "new", "allow.adjtime": False, "allow.chflags": False,
    "allow.extattr": False, "allow.mlock": False, "allow.mount": False, "allow.mount.devfs": False,
    "allow.mount.nullfs": False, "allow.mount.procfs": False, "allow.mount.tmpfs": False, "allow.mount.zfs": False,
    "allow.nfsd": False, "allow.quotas": False, "allow.raw_sockets": False, "allow.read_msgbuf": False,
    "allow.reserved_ports": True, "allow.routing": False, "allow.set_hostname": True, "allow.setaudit": False,
    "allow.settime": False, "allow.socket_af": False, "allow.suser": True, "allow.sysvipc": False,
    "allow.unprivileged_parent_tampering": False, "allow.unprivileged_proc_debug": True, "children.cur": "0",
    "children.max": "0", "cpuset.id": "3", "host.domainname": "", "host.hostid": "0", "host.hostname": "",
    "host.hostuuid": "00000000-0000-0000-0000-000000000000", "ip4.addr": [], "ip4.saddrsel": True, "ip6.addr": [],
    "ip6.saddrsel": True, "zfs.mount_snapshot": "0",
}  # fmt: skip
_TABLE = " {:<15} {:<15} {:<29} {}\n"
_PRETTY = """\
      {{
        "jid": {jid},
        "hostname": "{hostname}",
        "path": "{path}",
        "name": "{name}",
        "state": "{state}",
        "cpusetid": 3,
        "ipv4_addrs": [
        ],
        "ipv6_addrs": [
        ]
      }}"""


def as_json(found: Sequence[Jail], flags: str, parameters: Sequence[str], *, pretty: bool) -> str:
    """`jls --libxo json`, with -n or without, and `--libxo json,pretty -v`."""
    if pretty:
        listed = ",\n".join(_PRETTY.format(**vars(one), state="DYING" if one.dying else "ACTIVE") for one in found)
        return f'{{\n  "__version": "2", \n  "jail-information": {{\n    "jail": [\n{listed}\n    ]\n  }}\n}}\n'
    if "n" in flags:
        shown = [_entry(one, parameters) for one in found]
    else:
        shown = [
            f'{{"jid":{one.jid},"ipv4":"","hostname":{json.dumps(one.hostname)},"path":{json.dumps(one.path)}}}'
            for one in found
        ]
    return f'{{"__version": "2", "jail-information": {{"jail": [{", ".join(shown)}]}}}}\n'


def as_words(one: Jail, parameters: Sequence[str]) -> str:
    """`jls -n`: a flag that is off has a no before the last part of its name."""
    known = _parameters(one)
    words = []
    for key in parameters or known:
        value = known[key]
        head, dot, last = key.rpartition(".")
        words.append((key if value else f"{head}{dot}no{last}") if isinstance(value, bool) else f"{key}={value}")
    return " ".join(words)


def as_table(found: Sequence[Jail], named: bool) -> str:
    """`jls`, and with names instead of numbers `jls -N`."""
    rows = [(one.name if named else str(one.jid), "", one.hostname, one.path) for one in found]
    return "".join(_TABLE.format(*row) for row in (("JID", "IP Address", "Hostname", "Path"), *rows))


def _entry(one: Jail, parameters: Sequence[str]) -> str:
    """An object; libxo puts a blank before a list."""
    known = _parameters(one)
    text = ""
    for key in parameters or known:
        lead = "" if not text else ", " if isinstance(known[key], list) else ","
        text += f"{lead}{json.dumps(key)}:{' ' if isinstance(known[key], list) else ''}{json.dumps(known[key])}"
    return f"{{{text}}}"


def _parameters(one: Jail) -> dict[str, object]:
    own = {"dying": one.dying, "ip4": one.ip4, "jid": str(one.jid), "name": one.name, "path": one.path}
    return {**_ALL, **own, "persist": one.persist, "host.hostname": one.hostname}

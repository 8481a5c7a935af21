"""What jail.conf(5) says of the jails, as jail(8) itself reads it. The file is the administrator's; it is only read.

``jail -e`` (FreeBSD 14) prints every configured jail, wildcards and variables resolved. It has been read about in the
manual page and the source of jail(8), and never been run: where its answer is not understood, nothing is concluded.
"""

import re

from commands.drivers.base import Host, JailSpec
from commands.errors import DriverError

#: Parts the parameters that ``jail -e`` prints; no value contains it.
SEPARATOR = "\x1f"
#: Where rc(8) looks for a jail's configuration, in this order.
_PLACES = ("/etc/jail.{name}.conf", "/etc/jail.conf.d/{name}.conf", "/etc/jail.conf")


def conf_of(host: Host, jail: JailSpec) -> str | None:
    """The file that configures the jail: its ``settings``, else the first that rc(8) would take; None if none is there.

    jail(8) alone would read /etc/jail.conf only.
    """
    places = [jail.settings] if jail.settings else [place.format(name=jail.name) for place in _PLACES]
    return next((place for place in places if host.stat(place, follow=True) is not None), None)


def check_conf(host: Host, jail: JailSpec, conf: str) -> None:
    """Raise DriverError where jail.conf would start another jail than ``jail``, or stop others with it."""
    configured = configured_jails(host, conf)
    if configured is None:
        return
    mine = configured.get(jail.name)
    if mine is None:
        known = ", ".join(sorted(configured)) or "none"
        remedy = f"add it there, with path = {jail.root}"
        raise DriverError(f"cannot run jail {jail.name}: {conf} does not define it (defined: {known})", remedy=remedy)
    path = mine.get("path", "").rstrip("/")
    if path != jail.root:
        remedy = f"say path = {jail.root} there"
        raise DriverError(f"cannot run jail {jail.name}: {conf} has its path at {path or 'no place'}", remedy=remedy)
    dependents = [name for name, one in configured.items() if jail.name in one.get("depend", "").split(",")]
    if dependents:
        remedy = f"take `depend` out of {dependents[0]}, or put the dependent jail into a file of its own"
        raise DriverError(
            f"cannot run jail {jail.name}: {' and '.join(sorted(dependents))} depends on it, would be stopped with it "
            "and not be started again",
            remedy=remedy,
        )


def places_of(host: Host, jail: JailSpec, conf: str) -> frozenset[str]:
    """Every path that jail.conf has something mounted at, by ``mount`` or ``mount.fstab``, as far as can be told."""
    mine = (configured_jails(host, conf) or {}).get(jail.name, {})
    lines = mine.get("mount", "")
    fstab = mine.get("mount.fstab", "")
    if fstab and host.stat(fstab, follow=True) is not None:
        lines += "\n" + host.read(fstab).decode(errors="replace")
    return frozenset(word for word in re.split(r"[\s\",]+", lines) if word.startswith("/"))


def configured_jails(host: Host, conf: str) -> dict[str, dict[str, str]] | None:
    """The parameters of every configured jail, by name; None where this jail(8) cannot tell.

    Raises DriverError where it can, and the file is not in order.
    """
    completed = host.run(["jail", "-f", conf, "-e", SEPARATOR], check=False)
    if completed.status != 0:
        if "usage:" in completed.stderr or "illegal option" in completed.stderr:
            return None
        cause = completed.stderr.strip().splitlines()[-1:] or [f"status {completed.status}"]
        remedy = "correct it; see jail.conf(5)"
        raise DriverError(f"cannot read {conf}: {cause[0].removeprefix('jail: ')}", remedy=remedy)
    return parse_configured(completed.stdout)


def parse_configured(printed: str) -> dict[str, dict[str, str]] | None:
    """A line for each jail, ``name=web`` first; None for anything else. A value in quotes is given without them."""
    jails = {}
    for line in filter(None, printed.split("\n")):
        pairs = [field.partition("=") for field in line.split(SEPARATOR)]
        parameters = {name: _unquoted(value) for name, _, value in pairs}
        if not parameters.get("name"):
            return None
        jails[parameters["name"]] = parameters
    return jails


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value

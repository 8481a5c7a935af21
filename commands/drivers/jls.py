"""The jails of a FreeBSD host as its kernel knows them, asked with jls(8) and nothing else.

The status of ``service jail`` says nothing (it is 0 for a jail that is not even configured), and neither does a file.
"""

import json
from dataclasses import dataclass

from commands.drivers.base import Host
from commands.errors import DriverError


@dataclass(frozen=True, slots=True)
class ListedJail:
    """A jail of the kernel. One that is ``dying`` has no process left, and keeps its name, number and root busy."""

    name: str
    jid: str
    path: str
    dying: bool


def listed_jails(host: Host) -> tuple[ListedJail, ...]:
    """Every jail, dying ones too, as jls(8) tells them."""
    return parse_jails(host.run(["jls", "-d", "--libxo", "json", "-n", "name", "jid", "path", "dying"]).stdout)


def parse_jails(printed: str) -> tuple[ListedJail, ...]:
    """The jails of ``jls --libxo json -n``, where every number is a string. Raises DriverError."""
    try:
        found = json.loads(printed)["jail-information"]["jail"]
        return tuple(
            ListedJail(str(jail["name"]), str(jail["jid"]), str(jail["path"]), jail.get("dying") in (True, "true", "1"))
            for jail in found
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DriverError(f"cannot ask for the jails: jls printed {printed.strip()[:60]!r}") from error

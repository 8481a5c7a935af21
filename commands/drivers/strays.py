"""Commands in a jail that were not done in time, and what they have started: found among its processes and killed.

The runtime gives every command that it brings into a jail a session of its own. A runtime that is itself killed at the
moment at which it starts a command has not written its number down yet, so that is found by its descent.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from commands.drivers.base import Host
from commands.errors import DriverError


@dataclass(frozen=True, slots=True)
class Origin:
    """The parent and the session of a process, as numbers of this host."""

    parent: int
    session: int


def origins(host: Host, processes: Iterable[int]) -> dict[int, Origin]:
    """Where processes come from; those that are gone are left out. See stat in proc(5)."""
    found = {}
    for pid in processes:
        with suppress(DriverError, IndexError):
            fields = host.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            found[pid] = Origin(int(fields[1]), int(fields[3]))
    return found


def brought_in(found: Mapping[int, Origin], before: frozenset[int], first: int | None) -> frozenset[int]:
    """The sessions of processes that were not there ``before`` and do not descend from the ``first`` of the jail."""
    strangers = (pid for pid, origin in found.items() if origin.parent not in found and pid not in before)
    return frozenset(found[pid].session for pid in strangers if pid != first)


def kill_sessions(host: Host, processes: Sequence[int], sessions: frozenset[int]) -> None:
    """Kill every one of the ``processes`` that is in one of the ``sessions``."""
    members = [pid for pid, origin in origins(host, processes).items() if origin.session in sessions]
    if members:
        host.run(["/bin/sh", "-c", 'kill -s KILL "$@"', "sh", *map(str, members)], check=False)

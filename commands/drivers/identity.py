"""Who stands behind this process, as the kernel tells it.

A gate between two persons must not believe what one of them can set: ``SUDO_USER`` and its like are the environment of
a process that may already be root. So the audit identity is asked (proc(5), ``/proc/self/loginuid``: set at the login,
inherited by all that comes of it, through su and sudo), and beside it the processes that led here: each knows its real
user, and root's sudo is the child of somebody's shell. On FreeBSD the login name of the session (getlogin(2)) takes the
place of the audit identity; that was read in the manual, and never ran there.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ledger.authority import Person

#: What the kernel shows where nobody has logged in.
_UNSET = 0xFFFFFFFF
#: A chain of processes longer than this is a loop in what we read, not a history.
_LONGEST = 256
_ROOT = 0
_CLAIMS = ("SUDO_USER", "DOAS_USER")

Source = Literal["login-uid", "session", "process", "uid"]


def identify(
    proc: Path = Path("/proc"), environment: Mapping[str, str] = os.environ, platform: str = os.uname().sysname
) -> Person:
    """The person behind this process; user 0 where nobody but root can be named.

    The audit identity comes first, then the outermost user other than root among the parents, then the user id.
    """
    met = _users_on_the_way(proc)
    uid, source = _behind(proc, met, platform)
    login = name_of(uid)
    claimed = next((environment[name] for name in _CLAIMS if environment.get(name)), None)
    return Person(
        uid=uid,
        login=login,
        source=source,
        through=tuple(dict.fromkeys(user for user in met if user not in (uid, _ROOT))),
        claimed=None if claimed in (None, login) else claimed,
    )


def login_uid(proc: Path = Path("/proc")) -> int | None:
    """The audit identity of this process; None where there is none, or none was set."""
    try:
        uid = int((proc / "self" / "loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return uid if 0 <= uid < _UNSET else None


def name_of(uid: int) -> str:
    """The login of a user; its number where the system has no name for it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _behind(proc: Path, met: list[int], platform: str) -> tuple[int, Source]:
    audited = login_uid(proc)
    if audited is not None:
        return audited, "login-uid"
    session = _session_uid() if platform == "FreeBSD" else None
    if session is not None:
        return session, "session"
    people = [uid for uid in met if uid != _ROOT]
    return (people[-1], "process") if people else (os.getuid(), "uid")


def _session_uid() -> int | None:
    """The user of the session's login name, which only root can set (setlogin(2))."""
    try:
        return pwd.getpwnam(os.getlogin()).pw_uid
    except (OSError, KeyError):
        return None


def _users_on_the_way(proc: Path) -> list[int]:
    """The real user ids of this process and its parents, nearest first; empty where there is no proc(5)."""
    met: list[int] = []
    process = "self"
    while process != "0" and len(met) < _LONGEST:
        try:
            status = (proc / process / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            break
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if "Uid" not in fields or "PPid" not in fields:
            break
        met.append(int(fields["Uid"].split()[0]))
        process = fields["PPid"].strip()
    return met

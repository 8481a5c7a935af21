"""Puts the files that a machine needs at its boot into place, and takes them away. What is not ours stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from commands.drivers.base import Host
from commands.drivers.boot_files import RECOVER_UNIT, VERIFY_TIMER, BootFile, is_ours
from commands.drivers.platform import System
from commands.errors import Foreign

_ENABLED = (RECOVER_UNIT, VERIFY_TIMER)
#: There while systemd is process 1, see sd_booted(3).
_BOOTED = "/run/systemd/system"
_WANTS = ("/etc/systemd/system/multi-user.target.wants", "/etc/systemd/system/timers.target.wants")

Presence = Literal["absent", "as wanted", "other", "foreign"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was found."""

    file: BootFile
    there: Presence


class BootService:
    """The boot files of one host."""

    def __init__(self, host: Host, system: System, files: Sequence[BootFile]) -> None:
        self._host = host
        self._system = system
        self._files = files

    def found(self) -> tuple[Found, ...]:
        """What is there of each file: nothing, what is wanted, another one of ours, or one that is not ours."""
        return tuple(Found(file, self._look(file)) for file in self._files)

    def is_enabled(self) -> bool:
        """Whether the boot runs them: on FreeBSD as soon as they are there, with systemd once they are enabled."""
        if self._system == "FreeBSD":
            return True
        return all(any(self._host.stat(f"{wants}/{unit}") is not None for wants in _WANTS) for unit in _ENABLED)

    def install(self) -> None:
        """Write what is not as wanted, and have it run at every boot; already so is success.

        Raises Foreign, and writes nothing, while one of them is not ours.
        """
        there = self.found()
        for found in there:
            require_not_foreign(found)
        if self._system == "Linux":
            self._host.run(["systemctl", "--version"])
        for found in there:
            if found.there != "as wanted":
                self._host.make_directory(found.file.path.rpartition("/")[0])
                self._host.write(found.file.path, found.file.content, found.file.mode)
        if self._system == "Linux":
            self._reload()
            self._host.run(["systemctl", "enable", *_ENABLED])
            if self._is_booted():
                self._host.run(["systemctl", "start", VERIFY_TIMER])

    def remove(self) -> None:
        """Take away what is ours, and have the boot forget it; gone already is success."""
        left = [found.file for found in self.found() if found.there in ("as wanted", "other")]
        if self._system == "Linux" and left:
            if self._is_booted():
                self._host.run(["systemctl", "stop", VERIFY_TIMER], check=False)
            self._host.run(["systemctl", "disable", *_ENABLED])
        for file in left:
            self._host.remove(file.path)
        if self._system == "Linux" and left:
            self._reload()

    def _look(self, file: BootFile) -> Presence:
        there = self._host.stat(file.path)
        if there is None:
            return "absent"
        content = self._host.read(file.path) if there.is_file else b""
        if not is_ours(content):
            return "foreign"
        return "as wanted" if (content, there.mode) == (file.content, file.mode) else "other"

    def _reload(self) -> None:
        if self._is_booted():
            self._host.run(["systemctl", "daemon-reload"])

    def _is_booted(self) -> bool:
        return self._host.stat(_BOOTED) is not None


def require_not_foreign(found: Found) -> None:
    """Raise Foreign for a file of that name that rootswap did not write."""
    if found.there == "foreign":
        path = found.file.path
        remedy = f"look at it, and move it away if it is not needed: mv {path} {path}.old"
        raise Foreign(f"cannot replace {path}: it was not written by rootswap", remedy=remedy)

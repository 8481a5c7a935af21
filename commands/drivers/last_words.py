"""What a jail has printed since it was last started, for the operator to see when that start goes wrong."""

from commands.drivers.base import Host
from commands.errors import DriverError

#: How many lines are told.
_LINES = 5


class LastWords:
    """The ends of the files that jails print to. Only of a start by this process is it known where its words begin."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._begins: dict[str, int] = {}

    def begin(self, file: str) -> int:
        """A jail that prints to the end of ``file`` is about to be started: how many bytes there are."""
        found = self._host.stat(file)
        self._begins[file] = found.size_bytes if found else 0
        return self._begins[file]

    def of(self, file: str, but: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The last lines since then, printable. A line is whole, so that what must not be told of it can be found.

        Lines that begin with one of ``but`` are the runtime's own, and are left out. What cannot be read is nothing.
        """
        try:
            kept = self._host.read(file) if file in self._begins else b""
        except DriverError:
            return ()
        begins = self._begins.get(file, 0)
        # If a new file was begun since, it was in the middle of a line.
        printed = kept[begins:] if begins <= len(kept) else kept.partition(b"\n")[2]
        lines = [line.strip() for line in printed.decode(errors="replace").split("\n")]
        own = [line for line in lines if line and not line.startswith(but)]
        return tuple("".join(c if c.isprintable() else "?" for c in line) for line in own[-_LINES:])

"""What zfs(8) and zpool(8) print, and the properties that are asked for: pure.

``-H`` gives rows with tabs and no headings, ``-p`` exact numbers; both are in every version. A value stands for itself
only where its source is ``local``: user properties are inherited by everything beneath, and come along with a stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from commands.errors import DriverError

#: Our user properties. What a thing is, and how far it is.
MARKS = "rootswap:marks"
STATE = "rootswap:state"
#: The transaction that made a snapshot.
TRANSACTION = "rootswap:transaction"
#: Of a release: the transaction in whose trash it is.
RETIRED = "rootswap:retired"
#: Of a data snapshot: all volumes of its set. The first of them bears UNWOUND for the whole set.
VOLUMES = "rootswap:volumes"
UNWOUND = "rootswap:unwound"
ASKED = (
    "type,mounted,mountpoint,readonly,origin,createtxg,guid,userrefs,clones,written,"
    f"{MARKS},{STATE},{RETIRED},{VOLUMES},{UNWOUND}"
)
_MISSING = ("dataset does not exist", "no such pool")


@dataclass(frozen=True, slots=True)
class Seen:
    """A data set or snapshot as ``zfs get`` shows it: for each property its value and the source of that."""

    name: str
    values: Mapping[str, tuple[str, str]]

    def value(self, key: str) -> str | None:
        """A property's value, whatever its source; None where it has none."""
        value = self.values.get(key, ("-", "-"))[0]
        return None if value == "-" else value

    def own(self, key: str) -> str | None:
        """A user property's value if it was set on this very thing."""
        value, source = self.values.get(key, ("-", "-"))
        return value if source == "local" else None

    @property
    def is_mounted(self) -> bool:
        """Whether ZFS says that it is mounted."""
        return self.value("mounted") == "yes"

    @property
    def is_snapshot(self) -> bool:
        """Whether it is a snapshot."""
        return "@" in self.name

    @property
    def owner(self) -> str:
        """The data set that a snapshot is of; of a data set, itself."""
        return self.name.partition("@")[0]

    @property
    def age(self) -> int:
        """The transaction group in which it was made."""
        return int(self.value("createtxg") or 0)

    @property
    def clones(self) -> tuple[str, ...]:
        """The data sets that are clones of a snapshot."""
        return tuple((self.value("clones") or "").split(",")) if self.value("clones") else ()


def parsed_get(output: str) -> dict[str, Seen]:
    """Everything in ``zfs get -Hp -o name,property,value,source``, in the order in which it is told."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for line in output.splitlines():
        fields = line.split("\t")
        if len(fields) != 4:
            raise DriverError(f"cannot read what zfs get prints: {line[:80]!r} has not four fields")
        name, key, value, source = fields
        found.setdefault(name, {})[key] = (value, source)
    return {name: Seen(name, values) for name, values in found.items()}


def parsed_values(output: str) -> dict[str, str]:
    """The properties in ``-o property,value``."""
    return dict(line.split("\t", 1) for line in output.splitlines() if "\t" in line)


def parsed_tags(output: str) -> tuple[str, ...]:
    """The tags in ``zfs holds -H``."""
    return tuple(line.split("\t")[1] for line in output.splitlines() if line.count("\t") >= 2)


def complaint(stderr: str) -> str:
    """The first line of what zfs complains of; those after it explain how it is called."""
    return next((line.strip() for line in stderr.splitlines() if line.strip()), "no reason given")


def other_complaints(stderr: str) -> list[str]:
    """What zfs complains of beyond that something is not there."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return [line for line in lines if not line.endswith(_MISSING)]


def cause_of(stderr: str) -> tuple[str, str]:
    """The cause in what zfs complains of, without the sentence that it is in, and a remedy where one is known."""
    line = complaint(stderr)
    for ending, remedy in _REMEDIES.items():
        if line.endswith(ending):
            return ending, remedy
    return line, ""


_REMEDIES = {
    "out of space": "free room with `rootswap release destroy`, or make the pool larger; a snapshot needs room as well",
    "pool I/O is currently suspended": "bring its disks back, then run `zpool clear`",
    "pool is read-only": "import it read-write: `zpool export`, then `zpool import`",
    "pool or dataset is busy": "see who has it open: `fuser -m` or `fstat -f`",
    "parent does not exist": "create the parent with `zfs create`",
}

"""What `lvs --reportformat json` says, see lvs(8) and lvmreport(7), and how our logical volumes are called.

A logical volume of ours bears the tag ``rootswap`` and says in further tags what it is and how far it is. Its name is
derived from the same identifiers. A tag may contain ``/`` and ``=``, a name may not; neither may contain ``@``.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from commands.errors import DriverError

TAG = "rootswap"
MARKS, STATE, TRASH, POOL = f"{TAG}.marks=", f"{TAG}.state=", f"{TAG}.trash=", f"{TAG}.pool="
COLUMNS = (
    "lv_name,pool_lv,lv_tags,lv_attr,lv_uuid,lv_size,lv_metadata_size,"
    "data_percent,metadata_percent,lv_health_status,lv_when_full"
)
#: The device mapper's names end at 127 characters: volume group, hyphen, logical volume, with every hyphen doubled.
_LONGEST = 127


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """A line of the report. Percentages are None while it is not active."""

    name: str
    pool: str
    tags: frozenset[str]
    attr: str
    uuid: str
    size_bytes: int
    metadata_size_bytes: int
    data_percent: float | None
    metadata_percent: float | None
    health: str
    when_full: str

    @property
    def is_thin_pool(self) -> bool:
        """Whether it is a thin pool."""
        return self.attr[:1] == "t"

    @property
    def is_read_only(self) -> bool:
        """Whether it cannot be written, by its own permission."""
        return self.attr[1:2] == "r"

    @property
    def is_active(self) -> bool:
        """Whether there is a device for it now."""
        return self.attr[4:5] == "a"

    @property
    def is_open(self) -> bool:
        """Whether something uses its device, as a mount does."""
        return self.attr[5:6] == "o"

    def told(self, prefix: str) -> str | None:
        """What our tag with this prefix says."""
        return next((tag.removeprefix(prefix) for tag in sorted(self.tags) if tag.startswith(prefix)), None)


def parse_report(output: str) -> tuple[LogicalVolume, ...]:
    """The logical volumes of a JSON report. Raises DriverError when it is none."""
    try:
        return tuple(_parse(row) for part in json.loads(output)["report"] for row in part["lv"])
    except (ValueError, KeyError, TypeError) as error:
        raise DriverError("cannot ask for logical volumes: lvs prints something unknown") from error


def _parse(row: dict[str, str]) -> LogicalVolume:
    return LogicalVolume(
        name=row["lv_name"],
        pool=row["pool_lv"],
        tags=frozenset(filter(None, row["lv_tags"].split(","))),
        attr=row["lv_attr"],
        uuid=row["lv_uuid"],
        size_bytes=int(row["lv_size"]),
        metadata_size_bytes=int(row["lv_metadata_size"] or 0),
        data_percent=float(row["data_percent"]) if row["data_percent"] else None,
        metadata_percent=float(row["metadata_percent"]) if row["metadata_percent"] else None,
        health=row["lv_health_status"],
        when_full=row["lv_when_full"],
    )


def name_of(group: str, key: str) -> str:
    """What the logical volume of ``key`` is called, as ``releases/debian@ab12cd34``: rootswap+releases+debian+ab12cd34.

    An underscore becomes ``+.``: lvm(8) reserves names with ``_tdata`` and the like in them. No name of ours begins
    with a dot, so no two keys share a name. A name that is too long for the device mapper ends in a digest.
    """
    parts = [part.replace("_", "+.") for part in re.split("[/@]", key)]
    name = "+".join([TAG, *parts])
    if len(f"{group}-{name}") + group.count("-") + name.count("-") <= _LONGEST:
        return name
    return "+".join([TAG, parts[0], hashlib.sha256(key.encode()).hexdigest()[:32]])


def tags_of(marks: str, state: str) -> list[str]:
    """The options that give a new logical volume its tags, in the very command that makes it."""
    tags = (TAG, f"{MARKS}{marks.replace('@', '/')}", f"{STATE}{state}")
    return [word for tag in tags for word in ("--addtag", tag)]


def marks_of(volume: LogicalVolume) -> str | None:
    """What a logical volume of ours is, as ``releases/debian@ab12cd34``; None if it is not ours."""
    told = volume.told(MARKS) if TAG in volume.tags else None
    if told is None:
        return None
    kind, *names = told.split("/")
    return f"{kind}/{'@'.join(names)}" if kind == "releases" else told


def only(volumes: Sequence[LogicalVolume], name: str) -> LogicalVolume | None:
    """The logical volume of that name."""
    return next((volume for volume in volumes if volume.name == name), None)

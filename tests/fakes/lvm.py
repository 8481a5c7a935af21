"""LVM as its manuals describe it: one volume group with a thin pool, and the commands that the driver calls.

Modelled on lvcreate(8), lvchange(8), lvremove(8), lvrename(8), lvs(8) and lvmthin(7) of LVM 2.03.16. Exit statuses,
messages and the shape of the report were taken from that version, run without a device mapper. What a file system does
on a thin volume is modelled on ext4(5) and xfs(5). It is no more than a model until it was held against the real one.
"""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from commands.drivers.base import Completed

RESERVED = ("_cdata", "_cmeta", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vorigin")
EXTENT_BYTES = 4 << 20


class Refusal(Exception):
    """A command of LVM ends with status 5 and this message."""


@dataclass
class Lv:
    """A thin volume. ``content`` is where its files are while it is not mounted writable."""

    name: str
    uuid: str
    size_bytes: int
    tags: set[str]
    minor: int
    content: Path
    permission: str = "w"
    skip: bool = False
    active: bool = True
    open: int = 0
    kind: str | None = None
    fs_uuid: str = ""
    #: The journal is not empty: the snapshot was taken while the file system was mounted writable.
    dirty: bool = False
    #: How often it was mounted writable: the superblock tells.
    mounts: int = 0
    mounted_writable_at: Path | None = None


@dataclass
class FakeLvm:
    """The volume group ``vg`` with the thin pool ``pool``; contents lie beneath ``store``."""

    store: Path
    group: str = "vg"
    pool: str = "pool"
    size_bytes: int = 64 << 30
    metadata_bytes: int = 64 << 20
    data_percent: float = 3.0
    metadata_percent: float = 10.0
    health: str = ""
    when_full: str = "queue"
    pool_tags: set[str] = field(default_factory=set)
    volumes: dict[str, Lv] = field(default_factory=dict)
    made: int = 0
    disks: tuple[str, ...] = ("/dev/sdb1", "/dev/sdc1")

    def run(self, argv: list[str]) -> Completed:
        """Run one of the commands."""
        if argv[0] in ("lvs", "vgs") and argv[-1] != self.group:
            empty = json.dumps({"report": [{"lv": []}]}) if argv[0] == "lvs" else ""
            return Completed(5, empty, f'  Volume group "{argv[-1]}" not found\n  Cannot process volume group\n')
        try:
            return Completed(0, getattr(self, argv[0])(argv[1:]), "")
        except Refusal as refusal:
            return Completed(5, "", f"  {refusal}\n")

    # lvs

    def lvs(self, _options: list[str]) -> str:
        pool = {
            "lv_name": self.pool,
            "pool_lv": "",
            "lv_tags": ",".join(sorted(self.pool_tags)),
            "lv_attr": "twi-aotz"
            + {"": "-", "out_of_data": "D", "metadata_read_only": "M"}.get(self.health, "F")
            + "-",
            "lv_uuid": "pool",
            "lv_size": str(self.size_bytes),
            "lv_metadata_size": str(self.metadata_bytes),
            "data_percent": f"{self.data_percent:.2f}",
            "metadata_percent": f"{self.metadata_percent:.2f}",
            "lv_health_status": self.health,
            "lv_when_full": self.when_full,
        }
        return json.dumps({"report": [{"lv": [pool, *map(self._row, self.volumes.values())]}]})

    def vgs(self, _options: list[str]) -> str:
        return "".join(f"  {disk:<10}\n" for disk in self.disks)

    def _row(self, lv: Lv) -> dict[str, str]:
        state, use = "a" if lv.active else "-", "o" if lv.open else "-"
        return {
            "lv_name": lv.name,
            "pool_lv": self.pool,
            "lv_tags": ",".join(sorted(lv.tags)),
            "lv_attr": f"V{lv.permission}i-{state}{use}tz-{'k' if lv.skip else '-'}",
            "lv_uuid": lv.uuid,
            "lv_size": str(lv.size_bytes),
            "lv_metadata_size": "",
            "data_percent": "1.00" if lv.active else "",
            "metadata_percent": "",
            "lv_health_status": "",
            "lv_when_full": "",
        }

    # lvcreate

    def lvcreate(self, argv: list[str]) -> str:
        options, tags, places = parse(argv, {"-V", "-L", "--thinpool", "-n", "-p", "-k", "-a"})
        assert "--yes" in options, "it would ask"
        name = self._new_name(options["-n"])
        if self.metadata_percent >= 100 or self.health:
            raise Refusal(
                f"Cannot create new thin volume, free space in thin pool {self.group}/{self.pool} reached threshold."
            )
        if "-s" in options:
            if "-L" in options:
                raise Refusal("a size makes it an old snapshot, which is not modelled")
            origin = self.find(places[0])
            lv = self._new(name, origin.size_bytes, tags)
            lv.skip = options.get("-k", "y") == "y"
            lv.kind, lv.fs_uuid, lv.mounts = origin.kind, origin.fs_uuid, origin.mounts
            lv.dirty = origin.dirty or origin.mounted_writable_at is not None
            shutil.copytree(origin.mounted_writable_at or origin.content, lv.content, symlinks=True)
        else:
            if options["--thinpool"] != self.pool or places != [self.group]:
                raise Refusal(f"Pool {options['--thinpool']} not found in Volume group {places[0]}.")
            size = int(options["-V"].removesuffix("b"))
            lv = self._new(name, -(-size // EXTENT_BYTES) * EXTENT_BYTES, tags)
        lv.permission = options.get("-p", "w")
        lv.active = options.get("-a", "y") == "y" and not lv.skip
        self.volumes[name] = lv
        return f'  Logical volume "{name}" created.\n'

    def _new(self, name: str, size_bytes: int, tags: list[str]) -> Lv:
        for tag in tags:
            if not re.fullmatch(r"[A-Za-z0-9_+.\-/=!:&#]{1,1024}", tag) or tag.startswith("-"):
                raise Refusal(f"Tag {tag} contains invalid characters.")
        self.made += 1
        return Lv(name, f"uuid-{self.made}", size_bytes, set(tags), self.made, self.store / str(self.made))

    def _new_name(self, name: str) -> str:
        if not re.fullmatch(r"[a-zA-Z0-9+_.][a-zA-Z0-9+_.\-]*", name) or any(part in name for part in RESERVED):
            raise Refusal(f'Logical volume name "{name}" is invalid.')
        if len(f"{self.group}-{name}") + name.count("-") + self.group.count("-") > 127:
            raise Refusal(f'Device name of "{name}" is too long.')
        if name in self.volumes or name == self.pool:
            raise Refusal(f'Logical Volume "{name}" already exists in volume group "{self.group}"')
        return name

    # lvchange, lvremove, lvrename

    def lvchange(self, argv: list[str]) -> str:
        options, added, places = parse(argv, {"--activate", "-p", "--deltag"})
        for place in places:
            if place == f"{self.group}/{self.pool}":
                self.pool_tags = (self.pool_tags | set(added)) - {options.get("--deltag", "")}
                continue
            lv = self.find(place)
            lv.tags = (lv.tags | set(added)) - {options.get("--deltag", "")}
            lv.permission = options.get("-p", lv.permission)
            match options.get("--activate"):
                case "y" if not lv.skip or "--ignoreactivationskip" in options:
                    lv.active = True
                case "n" if lv.open:
                    raise Refusal(f"Logical volume {place} in use.")
                case "n":
                    lv.active = False
        return "".join(f"  Logical volume {place} changed.\n" for place in places)

    def lvremove(self, argv: list[str]) -> str:
        options, _, places = parse(argv, set())
        assert "--yes" in options, "it would ask"
        for place in places:
            lv = self.find(place)
            if lv.open:
                raise Refusal(f"Logical volume {place} contains a filesystem in use.")
            shutil.rmtree(lv.content, ignore_errors=True)
            del self.volumes[lv.name]
        return ""

    def lvrename(self, argv: list[str]) -> str:
        group, old, new = argv
        if group != self.group or old not in self.volumes:
            raise Refusal(f'Existing logical volume "{old}" not found in volume group "{group}"')
        lv = self.volumes.pop(old)
        lv.name = self._new_name(new)
        self.volumes[new] = lv
        return ""

    # for tests

    def find(self, place: str) -> Lv:
        """The logical volume at GROUP/NAME."""
        group, _, name = place.partition("/")
        if group != self.group or name not in self.volumes:
            raise Refusal(f'Failed to find logical volume "{place}"')
        return self.volumes[name]

    def plant(self, name: str) -> None:
        """A logical volume of somebody else."""
        self.volumes[name] = self._new(name, 1 << 30, ["theirs"])

    def reboot(self) -> None:
        """Nothing is active; mounts are the host's to lose."""
        for lv in self.volumes.values():
            lv.active = False


def parse(argv: list[str], valued: set[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Options (a short one may have its value attached), the tags to add, and what is left."""
    options: dict[str, str] = {}
    tags: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--addtag":
            tags.append(next(words))
        elif word in valued:
            options[word] = next(words)
        elif word[:2] in valued and len(word) > 2 and word[1] != "-":
            options[word[:2]] = word[2:]
        elif word.startswith("-"):
            options[word] = ""
        else:
            rest.append(word)
    return options, tags, rest

"""What a disk may hold when the power has failed: the synced, and of the rest whatever the disk liked.

The model is that of strict POSIX, which allows more than any file system does:

- A write or a truncation is safe once the file was synced after it. Until then it may be lost, alone or with others,
  may overtake those before it, or may be torn: some of its 512-byte sectors are there, the others not. A file grows
  with zeros where a later write has overtaken an earlier one.
- A new name, a removal or a rename is safe once its directory was synced after it; syncing the file does not help.
  Until then it may be lost alone, so that a removed file is back, with its last content or an older one, or a file that
  was synced is nowhere. (ext4, XFS and ZFS keep the order of such changes: a part of what is tried here.)
- Both are chosen independently.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from tests.power_loss.strace import apply
from tests.power_loss.trace import DIRECTORY, Mark, Op, Rebind, Sync, SyncDirectory, Truncate, Write, parent

T = TypeVar("T")
SECTOR = 512

#: Path to content; None is a directory.
Image = dict[str, bytes | None]
Change = Write | Truncate
#: What the disk has done of the changes that were not safe.
Choice = Sequence[Change]
NameChoice = Sequence[Rebind]


@dataclass
class Disk:
    """The disk in the course of a trace: ``safe`` contents and names, and the changes that are not, in order."""

    safe: dict[int, bytearray] = field(default_factory=dict)
    safe_names: dict[str, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    rebinds: list[Rebind] = field(default_factory=list)

    def take(self, op: Op) -> None:
        """What ``op`` does to the disk."""
        match op:
            case Write() | Truncate():
                self.changes.append(op)
            case Rebind():
                self.rebinds.append(op)
            case Sync(file):
                self._settle(lambda change: change.file == file)
            case SyncDirectory(directory):
                self._settle_names(lambda rebind: rebind.directory == directory)
            case Mark():
                pass

    def settle(self) -> None:
        """Make everything safe: what was done long ago."""
        self._settle(lambda _change: True)
        self._settle_names(lambda _rebind: True)

    def _settle(self, is_meant: Callable[[Change], bool]) -> None:
        for change in self.changes:
            if is_meant(change):
                apply(self.safe.setdefault(change.file, bytearray()), change)
        self.changes = [change for change in self.changes if not is_meant(change)]

    def _settle_names(self, is_meant: Callable[[Rebind], bool]) -> None:
        for rebind in self.rebinds:
            if is_meant(rebind):
                _bind(self.safe_names, rebind)
        self.rebinds = [rebind for rebind in self.rebinds if not is_meant(rebind)]

    def image(self, changes: Choice, rebinds: NameChoice) -> Image:
        """The files, if of all that was not safe exactly this has been done, in this order."""
        names = dict(self.safe_names)
        for rebind in rebinds:
            _bind(names, rebind)
        contents: dict[int, bytearray] = {}
        for change in changes:
            content = contents.get(change.file)
            if content is None:
                content = contents[change.file] = bytearray(self.safe.get(change.file, b""))
            apply(content, change)
        image: Image = {}
        # A directory that was lost has taken along what was in it.
        for path in sorted(names, key=lambda path: path.count("/")):
            if parent(path) == "." or parent(path) in image:
                file = names[path]
                image[path] = None if file == DIRECTORY else bytes(contents.get(file, self.safe.get(file, b"")))
        return image

    def images(self, dice: Random, rounds: int) -> Iterator[tuple[str, Image]]:
        """Named images of this moment: the plain ones, each single loss, and ``rounds`` times each kind of chance."""
        for names_word, rebinds in _name_choices(self.rebinds, dice, rounds):
            for word, changes in self._choices(dice, rounds if names_word in ("done", "undone") else 0):
                yield f"{word}; names {names_word}", self.image(changes, rebinds)

    def _choices(self, dice: Random, rounds: int) -> Iterator[tuple[str, Choice]]:
        pending = self.changes
        yield "all written", pending
        if not pending:
            return
        yield "nothing written", ()
        if rounds == 0:
            yield "some written", _some(pending, dice)
            return
        yield "the last one lost", pending[:-1]
        yield "the first one lost", pending[1:]
        for number in range(rounds):
            yield f"some written #{number}", _some(pending, dice)
            yield f"reordered #{number}", _shuffled(pending, dice)
            yield f"torn #{number}", _torn(pending, dice)
            yield f"the last one torn #{number}", [*pending[:-1], *_some(_sectors(pending[-1]), dice)]
            lost = dice.randrange(len(pending))
            yield f"number {lost} lost", [*pending[:lost], *pending[lost + 1 :]]
            kept = dice.randrange(len(pending))
            yield f"only number {kept} written", [pending[kept]]


def digest(image: Image) -> bytes:
    """The identity of an image."""
    state = hashlib.sha256()
    for path in sorted(image):
        content = image[path]
        state.update(f"{path}\0{'d' if content is None else len(content)}\0".encode())
        state.update(content or b"")
    return state.digest()


def _name_choices(pending: Sequence[Rebind], dice: Random, rounds: int) -> Iterator[tuple[str, NameChoice]]:
    yield "done", pending
    if not pending:
        return
    yield "undone", ()
    yield "removals undone", [rebind for rebind in pending if any(file is not None for _, file in rebind.names)]
    for number in range(1, len(pending)):
        yield f"done up to {number}", pending[:number]
    for number in range(rounds):
        yield f"some done #{number}", _some(pending, dice)


def _some(pending: Sequence[T], dice: Random) -> list[T]:
    share = dice.random()
    return [change for change in pending if dice.random() < share]


def _shuffled(pending: Sequence[Change], dice: Random) -> list[Change]:
    mixed = list(pending)
    dice.shuffle(mixed)
    return mixed[: dice.randint(1, len(mixed))]


def _torn(pending: Sequence[Change], dice: Random) -> list[Change]:
    """Some sectors of each write, in any order of the writes one time in two."""
    order = list(pending)
    if dice.random() < 0.5:
        dice.shuffle(order)
    return [sector for change in order for sector in _some(_sectors(change), dice)]


def _sectors(change: Change) -> list[Change]:
    if isinstance(change, Truncate):
        return [change]
    pieces: list[Change] = []
    offset, data = change.offset, change.data
    while data:
        size = SECTOR - offset % SECTOR
        pieces.append(Write(change.file, offset, data[:size]))
        offset, data = offset + size, data[size:]
    return pieces


def _bind(names: dict[str, int], rebind: Rebind) -> None:
    for path, file in rebind.names:
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file

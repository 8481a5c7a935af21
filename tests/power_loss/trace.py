"""A recording: everything that a run did to the files below one directory, in order, with marks of its own in between.

Paths are relative to that directory. A file is known by a number that survives renaming and removal, as an inode does.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import PurePosixPath

#: A program writes its marks to this file, one JSON object each: a recording holds them in place among the rest.
MARKS = "marks"


@dataclass(frozen=True, slots=True)
class Write:
    """``data`` put at ``offset`` of a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file made ``size`` bytes long."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """fsync or fdatasync of a file has returned."""

    file: int


@dataclass(frozen=True, slots=True)
class Rebind:
    """A change of one directory, whole or not at all: what each path means now; None: nothing any more."""

    directory: str
    names: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    """fsync or fdatasync of a directory has returned."""

    directory: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A word of the program: ``kind`` and what belongs to it."""

    kind: str
    content: dict[str, object]


Op = Write | Truncate | Sync | Rebind | SyncDirectory | Mark

#: What a path means that is a directory.
DIRECTORY = 0


def parent(path: str) -> str:
    """The directory of ``path``; "." is the recorded one itself."""
    return str(PurePosixPath(path).parent)


def in_words(op: Op) -> str:
    """One line for people."""
    match op:
        case Write(file, offset, data):
            return f"write {len(data)} bytes at {offset} of file {file}"
        case Mark(kind, content):
            return f"mark {kind} {str(content)[:80]}"
        case _:
            return str(op)


def parse_mark(line: bytes) -> Mark:
    """The mark that ``mark_line`` wrote."""
    content = json.loads(line)
    return Mark(content.pop("mark"), content)


def mark_line(kind: str, content: dict[str, object]) -> bytes:
    """A mark as it is written, in one write."""
    return json.dumps({"mark": kind, **content}).encode() + b"\n"


def pack(data: bytes) -> str:
    """Bytes for a mark."""
    return base64.b64encode(data).decode()


def unpack(text: object) -> bytes:
    """The bytes that ``pack`` put into a mark."""
    return base64.b64decode(str(text))

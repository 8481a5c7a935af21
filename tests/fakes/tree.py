"""Directory trees in memory. The content of a file is shared by all copies of it, so that space can be accounted."""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["directory", "file", "link", "device"]

_inodes = itertools.count(1000)


class Blob:
    """Immutable content; ``size_bytes`` may be more than what is kept of it."""

    __slots__ = ("content", "size_bytes")

    def __init__(self, content: bytes = b"", size_bytes: int | None = None) -> None:
        self.content = content
        self.size_bytes = len(content) if size_bytes is None else size_bytes

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Blob":
        return self


@dataclass(eq=False)
class Node:
    """A directory, a file, a symlink or a device file."""

    kind: Kind = "directory"
    mode: int = 0o755
    uid: int = 0
    blob: Blob = field(default_factory=Blob)
    target: str = ""
    children: dict[str, "Node"] = field(default_factory=dict)
    inode: int = field(default_factory=lambda: next(_inodes))

    def copy(self) -> "Node":
        """The same tree once more, with the same inode numbers, as in a snapshot."""
        return copy.deepcopy(self)

    def blobs(self) -> Iterator[Blob]:
        """The content of every file in the tree."""
        if self.kind == "file":
            yield self.blob
        for child in self.children.values():
            yield from child.blobs()

    def picture(self, path: str = "") -> Iterator[tuple[str, str]]:
        """Every path in the tree with what is there, to compare trees by."""
        told = {"file": repr(self.blob.content[:60]) + f" {self.blob.size_bytes}", "link": self.target}
        yield path or "/", f"{self.kind} {self.mode:o} {self.uid} {told.get(self.kind, '')}".rstrip()
        for name, child in sorted(self.children.items()):
            yield from child.picture(f"{path}/{name}")


def directory(*, mode: int = 0o755, **children: Node) -> Node:
    """A directory with children."""
    return Node(mode=mode, children=dict(children))

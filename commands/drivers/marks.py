"""Ownership marks: a small file beside a thing says that it is ours and whether it is finished.

A mark is written before the thing that it marks is made, and names it. So a thing without a mark, or with the mark of
another, is not ours; a mark that says ``building`` is beside something half made.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from commands.drivers.base import Host

State = Literal["building", "built"]


class Mark(BaseModel):
    """The content of a mark: what it marks, and how far that is."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    rootswap: Literal[1] = 1
    marks: str
    state: State


def write_mark(host: Host, path: str, marks: str, state: State) -> None:
    """Write the mark at ``path``, durably."""
    host.write(path, Mark(marks=marks, state=state).model_dump_json().encode() + b"\n")


def read_mark(host: Host, path: str, marks: str) -> State | Literal["none", "foreign"]:
    """How far the marked thing is; ``foreign`` when the mark is not for ``marks`` or is no mark."""
    found = host.stat(path)
    if found is None:
        return "none"
    if not found.is_file or found.uid != 0 or found.size_bytes > 4096:
        return "foreign"
    try:
        mark = Mark.model_validate_json(host.read(path))
    except ValidationError:
        return "foreign"
    return mark.state if mark.marks == marks else "foreign"

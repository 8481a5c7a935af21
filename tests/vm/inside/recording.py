"""A Host that writes down what it ran and what came of it, one JSON object a line, as the captures have it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from commands.drivers.base import Completed
from commands.drivers.host import LocalHost, complaint, shown
from commands.errors import DriverError


class RecordingHost(LocalHost):
    """The local machine; ``section`` says on whose behalf. ``names`` stand for what is called otherwise each time."""

    def __init__(self, path: Path | None, section: str, names: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._path = path
        self._section = section
        self._names = names or {}
        self.ran: list[tuple[str, ...]] = []

    def run(self, argv: Sequence[str], *, check: bool = True, **options: Any) -> Completed:
        self.ran.append(tuple(argv))
        completed = super().run(argv, check=False, **options)
        if self._path is not None:
            said = {"section": self._section, "command": shlex.join(argv), "rc": completed.status}
            line = json.dumps({**said, "stdout": completed.stdout, "stderr": completed.stderr})
            for name, instead in self._names.items():
                line = line.replace(name, instead)
            with self._path.open("a") as file:
                file.write(line + "\n")
        if check and completed.status != 0:
            raise DriverError(f"cannot run {shown(argv)}: {complaint(completed)}")
        return completed

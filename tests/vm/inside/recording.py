"""A Host that writes down what it ran and what came of it, one JSON object a line, as the captures have it."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commands.drivers.base import Completed
from commands.drivers.host import LocalHost, complaint, shown
from commands.errors import DriverError


class RecordingHost(LocalHost):
    """The local machine; ``section`` says on whose behalf."""

    def __init__(self, path: Path | None, section: str) -> None:
        super().__init__()
        self._path = path
        self._section = section

    def run(self, argv: Sequence[str], *, check: bool = True, **options: Any) -> Completed:
        completed = super().run(argv, check=False, **options)
        if self._path is not None:
            said = {"section": self._section, "command": shlex.join(argv), "rc": completed.status}
            with self._path.open("a") as file:
                file.write(json.dumps({**said, "stdout": completed.stdout, "stderr": completed.stderr}) + "\n")
        if check and completed.status != 0:
            raise DriverError(f"cannot run {shown(argv)}: {complaint(completed)}")
        return completed

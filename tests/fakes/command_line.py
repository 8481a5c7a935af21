"""The whole command line against the FreeBSD in memory: only the ledger and its keys are on the real file system."""

from collections.abc import Sequence
from typing import Any

from commands.drivers.base import Completed, Stat
from commands.drivers.host import LocalHost
from tests.fakes.host import FakeHost
from tests.fakes.jail_model import alive
from tests.fakes.world import FakeFreeBSD


class SplitHost(FakeHost):
    """The world's door, but for what is beneath the ``real`` directories, and for ssh-keygen."""

    def __init__(self, world: FakeFreeBSD, real: Sequence[str]) -> None:
        super().__init__(world)
        self._real = tuple(f"{path}/" for path in real)
        self._local = LocalHost()
        self.answers = _answer

    def _is_real(self, path: str) -> bool:
        return f"{path}/".startswith(self._real)

    def run(self, argv: Sequence[str], *, stdin: str | None = None, **more: Any) -> Completed:
        if argv[0] == "ssh-keygen":
            return self._local.run(argv, stdin=stdin, **more)
        return super().run(argv, **more)

    def read(self, path: str) -> bytes:
        return self._local.read(path) if self._is_real(path) else super().read(path)

    def entries(self, path: str) -> tuple[str, ...]:
        return self._local.entries(path) if self._is_real(path) else super().entries(path)

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        return self._local.stat(path, follow=follow) if self._is_real(path) else super().stat(path, follow=follow)

    def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        (self._local.write if self._is_real(path) else super().write)(path, content, mode)

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        if self._is_real(path) or any(real.startswith(f"{path}/") for real in self._real):
            self._local.make_directory(path, mode)
        if not self._is_real(path):
            super().make_directory(path, mode)

    def remove(self, path: str) -> None:
        (self._local.remove if self._is_real(path) else super().remove)(path)


def _answer(world: FakeFreeBSD, _url: str) -> int:
    """What the jail serves: 200 while it lives on a root that has its program, and 503 on a release that says so."""
    jail = alive(world, "web")
    if jail is None or world.find(f"{jail.path}/bin/sh") is None:
        return 502
    return 503 if world.find(f"{jail.path}/etc/broken") else 200

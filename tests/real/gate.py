"""The fault injector at the one door: a Host around LocalHost that passes a gate before and after every effect."""

import re
from collections.abc import Callable, Mapping, Sequence

from commands.drivers.base import Completed
from commands.drivers.host import LocalHost

#: Commands that only look; being killed before or after one of them leaves the same host as before.
_LOOKS = ("lxc-info", "btrfs subvolume show", "btrfs property get", "btrfs filesystem", "find")

_ASKS_RUNTIME = re.compile(r"runc .* --log-format json state |(systemd-nspawn|nsenter|setpriv|unshare|runc) --version")


class GatedHost(LocalHost):
    """The local machine; ``gate`` hears "before …", "during …" and "after …" each effect."""

    def __init__(self, lock_fd: int | None, gate: Callable[[str], None]) -> None:
        super().__init__(lock_fd)
        self._gate = gate

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] | None = None,
        holds_lock: bool = True,
        stdin: str | None = None,
        until: bytes | None = None,
    ) -> Completed:
        words = " ".join(argv)
        effect = not words.startswith(_LOOKS) and _ASKS_RUNTIME.match(words) is None
        if effect:
            self._gate(f"before {words}")
            self._gate(f"during {words}")
        completed = super().run(
            argv,
            timeout_s=timeout_s,
            check=check,
            environment=environment,
            cancelled=cancelled,
            holds_lock=holds_lock,
            stdin=stdin,
            until=until,
        )
        if effect:
            self._gate(f"after {words}")
        return completed

    def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        self._gate(f"before writing {path}")
        super().write(path, content, mode)
        self._gate(f"after writing {path}")

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        self._gate(f"before making {path}")
        super().make_directory(path, mode)
        self._gate(f"after making {path}")

    def remove(self, path: str) -> None:
        self._gate(f"before removing {path}")
        super().remove(path)
        self._gate(f"after removing {path}")

    def rename(self, old: str, new: str) -> None:
        self._gate(f"before renaming {old}")
        super().rename(old, new)
        self._gate(f"after renaming {old}")

    def sync(self, path: str) -> None:
        self._gate(f"before syncing {path}")
        super().sync(path)
        self._gate(f"after syncing {path}")

    def move_mount(self, old: str, new: str) -> None:
        self._gate(f"before moving the mount at {old}")
        super().move_mount(old, new)
        self._gate(f"after moving the mount at {old}")

    def unbind(self, path: str) -> None:
        self._gate(f"before unmounting {path}")
        super().unbind(path)
        self._gate(f"after unmounting {path}")

    def signal(self, pid: int, cgroup: str, name: str) -> bool:
        self._gate(f"before {name} to the first process")
        told = super().signal(pid, cgroup, name)
        self._gate(f"after {name} to the first process")
        return told

    def snapshot_subvolume(self, source: str, directory: str, name: str) -> None:
        self._gate(f"before snapshot of {source}")
        super().snapshot_subvolume(source, directory, name)
        self._gate(f"after snapshot of {source}")

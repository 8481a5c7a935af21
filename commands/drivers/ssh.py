"""SshHost: another machine as the host, over plain ssh(1). It needs a shell and its base system there, and no Python.

The ledger, the keys and the engine are on the machine that we run on; every look and every effect goes over the link.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from commands.drivers.base import Completed, Stat
from commands.drivers.files import told
from commands.drivers.host import LocalHost, complaint, shown
from commands.drivers.network import arrives, http_status
from commands.drivers.platform import boot_id_of
from commands.drivers.signals import signal_word
from commands.drivers.ssh_files import (
    ENTRIES,
    FREEBSD,
    LINUX,
    RESOLVE,
    SIGNAL,
    Dialect,
    components,
    make_directory_script,
    parse_dump,
    parse_entries,
    parse_free,
    parse_size,
    parse_stat,
    remove_script,
    rename_script,
    write_script,
)
from commands.drivers.ssh_link import Address, Link
from commands.errors import DriverError

#: What od(1) is asked for at a time.
_CHUNK_BYTES = 1 << 20
_GONE = ("No such file or directory", "Not a directory")
_FILE_TIMEOUT_S = 60.0
_TREE_TIMEOUT_S = 3600.0
_ONLY_HERE = "Btrfs is not driven over ssh"


class SshHost:
    """A host at the other end of an ssh connection: the Protocol ``Host``, with HostUnreachable beside its errors.

    A symlink that is exchanged while a path is resolved or a file is written is noticed less surely than by LocalHost,
    which holds on to each directory: whoever can change the directories there must be trusted.
    """

    def __init__(self, address: Address, local: LocalHost | None = None, *, patience_s: float = 60.0) -> None:
        self._local = local or LocalHost()
        self._address = address
        self._link = Link(self._local, address, patience_s=patience_s)
        self._forwarded: dict[tuple[int, str, int], str] = {}

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] | None = None,
        holds_lock: bool = True,
    ) -> Completed:
        """Run a command there. A lost connection is ToolTimedOut: what the command did is unknown.

        ``holds_lock`` has no meaning here: what an engine has left running is looked for by its mark.
        """
        del holds_lock
        return self._checked(
            argv, check, self._link.run(argv, timeout_s=timeout_s, environment=environment, cancelled=cancelled)
        )

    def read(self, path: str) -> bytes:
        """The content of a file, in pieces of a mebibyte."""
        pieces: list[bytes] = []
        while not pieces or len(pieces[-1]) == _CHUNK_BYTES:
            skip = str(len(pieces) * _CHUNK_BYTES)
            argv = ["od", "-An", "-v", "-tx1", "-j", skip, "-N", str(_CHUNK_BYTES), "--", path]
            pieces.append(parse_dump(self._told(f"cannot read {path}", argv).stdout))
        return b"".join(pieces)

    def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Replace a file atomically and durably."""
        directory, name = os.path.split(path)
        outgoing = f"{self._address.directory}/outgoing"
        self._local.make_directory(self._address.directory, 0o700)
        self._local.write(outgoing, content)
        try:
            script = write_script(self._dialect)
            self._script(f"cannot write {path}", script, directory, name, f"{mode:o}", stdin=outgoing)
        finally:
            self._local.remove(outgoing)

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory and its parents; what is there already stays as it is."""
        parts = components(path)
        places = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        script = make_directory_script(self._dialect)
        self._script(f"cannot make directory {path}", script, f"{mode:o}", *places)

    def remove(self, path: str) -> None:
        """Remove a file, a symlink or an empty directory; already gone is success."""
        script = remove_script(self._dialect)
        self._script(f"cannot remove {path}", script, path, os.path.dirname(path))

    def rename(self, old: str, new: str) -> None:
        """Rename within one file system; the new name must not exist."""
        script = rename_script(self._dialect)
        self._script(f"cannot rename {old} to {new}", script, old, new, os.path.dirname(old), os.path.dirname(new))

    def entries(self, path: str) -> tuple[str, ...]:
        """The sorted names in a directory; empty if there is no such directory."""
        return parse_entries(path, self._script(f"cannot list {path}", ENTRIES, path).stdout)

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        """What is at a path, or None; symlinks are looked at, not through, unless ``follow``."""
        words = self._dialect.stat_followed if follow else self._dialect.stat
        completed = self.run([*words, path], check=False, timeout_s=_FILE_TIMEOUT_S)
        if completed.status == 0:
            return parse_stat(path, completed.stdout)
        if any(cause in completed.stderr for cause in _GONE):
            return None
        raise DriverError(f"cannot look at {path} on {self._address.destination}: {complaint(completed)}")

    def read_link(self, path: str) -> str:
        """What a symlink says, as it is written."""
        return self._told(f"cannot read the symlink {path}", ["readlink", "--", path]).stdout.removesuffix("\n")

    def resolve_beneath(self, root: str, path: str) -> str:
        """The host path of ``path`` inside ``root``, with every component a real directory or file."""
        sentence = f"cannot resolve {path} beneath {root}"
        parts = components(path)
        if ".." in parts:
            raise DriverError(f"{sentence}: it leads upwards")
        self._script(sentence, RESOLVE, root.rstrip("/") or "/.", *parts)
        return "/".join([root.rstrip("/"), *parts]) or "/"

    def move_mount(self, old: str, new: str) -> None:
        """Move a mount; the kernel refuses where its parent is shared."""
        self._told(f"cannot move the mount at {old} to {new}", ["mount", "--move", "--", old, new])

    def unbind(self, path: str) -> None:
        """Unmount what is at ``path``, of a file system that stays mounted elsewhere."""
        self._told(f"cannot unmount {path}", ["umount", "--", path])

    def signal(self, pid: int, cgroup: str, name: str) -> bool:
        """Send a signal to a process of a cgroup or below; False if it is there no more."""
        word = signal_word(name).removeprefix("SIG")
        return self.run(["/bin/sh", "-c", SIGNAL, "sh", str(pid), cgroup, word], check=False).status == 0

    def free_bytes(self, path: str) -> int:
        """Bytes that root can still write to the file system of ``path``."""
        completed = self._told(f"cannot ask for the free space of {path}", ["df", "-kP", "--", path])
        return parse_free(path, completed.stdout)

    def size_bytes(self, path: str) -> int:
        """The size of the file system of ``path``."""
        completed = self._told(f"cannot ask for the size of the file system of {path}", ["df", "-kP", "--", path])
        return parse_size(path, completed.stdout)

    def tree_digest(self, path: str) -> str:
        """A digest as that of LocalHost, though not the same: of what the tools there tell of each file."""
        words = ["/bin/sh", "-c", self._dialect.tree_digest, "sh", path]
        return self._told(f"cannot look over {path}", words, timeout_s=_TREE_TIMEOUT_S).stdout.split()[0]

    def ioctl(self, path: str, request: int, size_bytes: int) -> bytes:
        """No file system can be asked from afar: raises DriverError."""
        raise DriverError(f"cannot ask the file system of {path} on {self._address.destination}: {_ONLY_HERE}")

    def snapshot_subvolume(self, source: str, directory: str, name: str) -> None:
        """Not from afar: raises DriverError."""
        raise DriverError(f"cannot take a snapshot of {source} on {self._address.destination}: {_ONLY_HERE}")

    def sync(self, path: str) -> None:
        """Make everything written to the file system of ``path`` durable."""
        self._told(f"cannot sync the file system of {path}", [*self._dialect.sync_file_system, path])

    def http_status(self, url: str, timeout_s: float) -> int:
        """The status code of a GET that comes from the other host; certificates are checked here."""
        with told(f"cannot get {url} from {self._address.destination}"):
            return http_status(url, timeout_s, via=self._lead)

    def connect(self, address: str, port: int, timeout_s: float) -> None:
        """Open and close a TCP connection from the other host."""
        sentence = f"cannot connect to {address} port {port} from {self._address.destination}"
        with told(sentence):
            if not arrives(self._lead(address, port), timeout_s):
                raise DriverError(f"{sentence}: connection refused")

    def boot_id(self) -> str:
        """What tells this boot of the other host from the next."""
        return boot_id_of(self)

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    @cached_property
    def _dialect(self) -> Dialect:
        system, uid = self.run(["/bin/sh", "-c", "uname -s; id -u"]).stdout.split()
        sentence = f"cannot drive {self._address.destination}"
        if uid != "0":
            raise DriverError(f"{sentence}: not root there", remedy="let [host] ssh name root, as root@box")
        if system == "Linux":
            return LINUX
        if system == "FreeBSD":
            return FREEBSD
        raise DriverError(f"{sentence}: {system} is neither Linux nor FreeBSD")

    def _script(self, sentence: str, script: str, *words: str, stdin: str | None = None) -> Completed:
        return self._told(sentence, ["/bin/sh", "-c", script, "sh", *words], stdin)

    def _told(
        self, sentence: str, argv: Sequence[str], stdin: str | None = None, timeout_s: float = _FILE_TIMEOUT_S
    ) -> Completed:
        completed = self._link.run(argv, timeout_s=timeout_s, stdin=stdin)
        if completed.status != 0:
            cause = complaint(completed).rpartition(": ")[2]
            raise DriverError(f"{sentence} on {self._address.destination}: {cause[:1].lower() + cause[1:]}")
        return completed

    def _checked(self, argv: Sequence[str], check: bool, completed: Completed) -> Completed:
        if check and completed.status != 0:
            where = self._address.destination
            raise DriverError(f"cannot run {shown(argv)} on {where}: {complaint(completed)}")
        return completed

    def _lead(self, address: str, port: int) -> str:
        """A local socket that leads to an address as the other host sees it."""
        self._link.connect()
        place = (self._link.generation, address, port)
        if place not in self._forwarded:
            socket = self._link.socket_to(address, port)
            self._link.forward(socket, f"[{address}]" if ":" in address else address, port)
            self._forwarded[place] = socket
        return self._forwarded[place]

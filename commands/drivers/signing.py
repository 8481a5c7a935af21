"""Signatures by ssh-keygen, and the keys that make them.

The ledger says which key is in force; here its private half lies, in a file that is named after the public one. A
private file may be the handle of a hardware key: ssh-keygen knows. Beside each key stands what was signed with it
last, apart from the ledger: so an old copy of the ledger, put back, is not signed again.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from commands.drivers.base import Completed, Stat
from commands.errors import DriverError
from ledger.checkpoint import CHECKPOINT_NAMESPACE, ROTATION_NAMESPACE, fingerprint, public_key

_PRINCIPAL = "rootswap"
_KEY_MODE = 0o400
#: A hardware key waits for a finger.
_SIGN_TIMEOUT_S = 60.0


class SigningHost(Protocol):
    """What of the door to the host signing needs; ``stdin`` is a file that the command reads."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] | None = None,
        stdin: str | None = None,
    ) -> Completed:
        """Run a command."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file."""
        ...

    def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Replace a file atomically and durably."""
        ...

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file or an empty directory."""
        ...

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        """What is at a path, or None."""
        ...


class SshChecker:
    """Checks signatures; needs no key of ours and no ledger. ``scratch`` is where it may write for a moment."""

    def __init__(self, host: SigningHost, scratch: str = "/tmp") -> None:  # noqa: S108 a fresh directory in it, ours alone
        self._host = host
        self._scratch = scratch

    def is_signed(self, message: bytes, signature: str, key: str, namespace: str) -> bool:
        """Whether ``signature`` over ``message`` for ``namespace`` is by the holder of the public ``key``."""
        place = f"{self._scratch}/rootswap-{secrets.token_hex(8)}"
        files = {
            "message": message,
            "signature": signature.encode(),
            "allowed": f"{_PRINCIPAL} {key}\n".encode(),
        }
        self._host.make_directory(place, mode=0o700)
        try:
            for name, content in files.items():
                self._host.write(f"{place}/{name}", content)
            argv = ["ssh-keygen", "-Y", "verify", "-q", "-f", f"{place}/allowed", "-I", _PRINCIPAL]
            argv += ["-n", namespace, "-s", f"{place}/signature"]
            return self._host.run(argv, check=False, stdin=f"{place}/message").status == 0
        finally:
            for name in files:
                self._host.remove(f"{place}/{name}")
            self._host.remove(place)


class SshKeys(SshChecker):
    """The keys in ``directory``, which is root's alone."""

    def __init__(self, host: SigningHost, directory: str) -> None:
        super().__init__(host, directory)
        self._directory = directory

    def make_key(self) -> str:
        """A new Ed25519 key; returns its public half."""
        self._host.make_directory(self._directory, mode=0o700)
        draft = f"{self._directory}/.draft"
        self._discard(draft)
        self._host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", _PRINCIPAL, "-f", draft])
        key = self.adopt_key(draft)
        self._discard(draft)
        return key

    def adopt_key(self, path: str) -> str:
        """Take the private key at ``path`` (or the handle of a hardware key), with its ``.pub`` beside it, as ours."""
        self._host.make_directory(self._directory, mode=0o700)
        try:
            key = public_key(self._host.read(f"{path}.pub").decode())
        except ValueError as error:
            raise DriverError(f"cannot use the key {path}: {error}") from error
        place = self._place(key)
        self._host.write(f"{place}.pub", f"{key} {_PRINCIPAL}\n".encode(), 0o444)
        self._host.write(place, self._host.read(path), _KEY_MODE)
        return key

    def allow(self, keys: Sequence[str]) -> None:
        """Write the file that ``ssh-keygen -Y verify`` reads: whose signatures are to be believed."""
        options = f'namespaces="{CHECKPOINT_NAMESPACE},{ROTATION_NAMESPACE}"'
        lines = "".join(f"{_PRINCIPAL} {options} {key}\n" for key in keys)
        self._host.write(f"{self._directory}/allowed_signers", lines.encode(), 0o444)

    def sign(self, message: bytes, key: str, namespace: str) -> str:
        """The armoured SSH signature. Raises DriverError, ToolMissing."""
        self.require(key)
        place = self._place(key)
        paper = f"{place}.message"
        self._discard(paper, ".sig")
        try:
            self._host.write(paper, message)
            argv = ["ssh-keygen", "-Y", "sign", "-q", "-f", place, "-n", namespace, paper]
            self._host.run(argv, timeout_s=_SIGN_TIMEOUT_S)
            return self._host.read(f"{paper}.sig").decode("ascii")
        finally:
            self._discard(paper, ".sig")

    def require(self, key: str) -> None:
        """Raise DriverError unless the private half of ``key`` is there."""
        if self._host.stat(self._place(key)) is None:
            raise DriverError(
                f"cannot sign with {fingerprint(key)}: its private half is not in {self._directory}",
                remedy="restore it from its copy",
            )

    def signed_last(self, key: str) -> str | None:
        """The checkpoint that was signed last with ``key``, or was about to be."""
        path = f"{self._place(key)}.signed"
        return None if self._host.stat(path) is None else self._host.read(path).decode(errors="replace")

    def remember(self, key: str, checkpoint: str) -> None:
        """Keep ``checkpoint`` as the last one; durable before it is signed."""
        self._host.write(f"{self._place(key)}.signed", checkpoint.encode())

    def _place(self, key: str) -> str:
        return f"{self._directory}/{hashlib.sha256(base64.b64decode(key.split()[1])).hexdigest()[:16]}"

    def _discard(self, path: str, *more: str) -> None:
        for suffix in ("", *(more or (".pub",))):
            self._host.remove(path + suffix)

"""Jails that are started with their secrets: between the steps, whose plan is in the log, and a runtime."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from commands.drivers.base import Completed, Host, Jails, JailSpec, JailState, Source
from commands.drivers.secret_files import Read, Secrets
from commands.drivers.trusted import require_trusted
from commands.errors import DriverError
from ledger.errors import RootswapError

_OTHERS = 0o077


class SecretJails:
    """A runtime that learns the secrets of a jail when it starts it, and whose complaints have them taken out."""

    def __init__(self, runtime: Jails, secrets: Secrets) -> None:
        self._runtime = runtime
        self._secrets = secrets

    def preflight(self, jail: JailSpec) -> None:
        """As the runtime; the secrets have to be there."""
        self._runtime.preflight(jail)
        self._secrets.resolved(jail)

    def state(self, jail: JailSpec) -> JailState:
        """As the runtime."""
        return self._runtime.state(jail)

    def runs_on(self, jail: JailSpec, source: Source) -> bool:
        """As the runtime."""
        return self._runtime.runs_on(jail, source)

    def start(self, jail: JailSpec) -> None:
        """Start the jail with its secrets."""
        with self._redacting(jail):
            self._runtime.start(self._secrets.resolved(jail))

    def stop(self, jail: JailSpec) -> None:
        """As the runtime: whatever has become of the secrets, a jail can be stopped."""
        self._runtime.stop(jail)

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command in the jail, which has its secrets; what it says of them is not told."""
        if jail.secrets is None:
            return self._runtime.execute(jail, argv, timeout_s)
        with self._redacting(jail):
            done = self._runtime.execute(self._secrets.resolved(jail), argv, timeout_s)
        told = (self._secrets.redacted(jail, text) for text in (done.stdout, done.stderr))
        return Completed(done.status, *told)

    def last_words(self, jail: JailSpec) -> tuple[str, ...]:
        """As the runtime, without the secrets; nothing at all when they cannot be read, and so cannot be found."""
        return tuple(self._secrets.redacted(jail, line) for line in self._runtime.last_words(jail))

    @contextmanager
    def _redacting(self, jail: JailSpec) -> Iterator[None]:
        try:
            yield
        except RootswapError as error:
            error.message = self._secrets.redacted(jail, error.message)
            error.remedy = self._secrets.redacted(jail, error.remedy)
            error.args = (error.message,)
            raise


def roots_own(host: Host) -> Read:
    """Reads files that nobody but root can read, change or exchange for another. Raises DriverError."""

    def read(path: str) -> bytes:
        require_trusted(host, path)
        found = host.stat(path)
        if found is None or found.mode & _OTHERS:
            raise DriverError(f"cannot use {path}: others than root can read it", remedy=f"chmod 600 {path}")
        return host.read(path)

    return read

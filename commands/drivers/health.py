"""Asks a jail whether it is well, from the host or inside the jail. One question each; the step repeats it."""

from collections.abc import Mapping

from commands.drivers.base import HealthCheck, Host, Jails, JailSpec
from commands.errors import DriverError


class HostHealth:
    """Asks over the network from the host's side, or by a command inside the jail."""

    def __init__(self, host: Host, jails: Mapping[str, Jails]) -> None:
        self._host = host
        self._jails = jails

    def ask(self, check: HealthCheck, jail: JailSpec) -> str | None:
        """One question of at most ``check.timeout_s``: None when all is well, else what is wrong in one line."""
        try:
            if check.http is not None:
                return self._ask_http(check, check.http)
            if check.tcp is not None:
                address, port = address_and_port(check.tcp)
                self._host.connect(address, port, check.timeout_s)
                return None
            if check.command:
                return self._ask_command(check, check.command, jail)
        except DriverError as error:
            return " ".join(error.message.split())
        return f"the health check {check.name} asks nothing: it has neither http nor tcp nor command"

    def _ask_http(self, check: HealthCheck, url: str) -> str | None:
        status = self._host.http_status(url, check.timeout_s)
        return None if status == check.expect_status else f"{url} answered {status}, expected {check.expect_status}"

    def _ask_command(self, check: HealthCheck, command: tuple[str, ...], jail: JailSpec) -> str | None:
        completed = self._jails[jail.driver].execute(jail, command, check.timeout_s)
        if completed.status == 0:
            return None
        words = [line for line in (completed.stdout + "\n" + completed.stderr).splitlines() if line.strip()]
        said = f": {' '.join(words[-1].split())}" if words else ""
        return f"{command[0]} ended with status {completed.status}{said}"


def address_and_port(target: str) -> tuple[str, int]:
    """The halves of ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``. Raises DriverError."""
    address, _, port = target.rpartition(":")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    digits = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    if not bare or not digits or (bare == address and ":" in address):
        remedy = "write ADDRESS:PORT, or [ADDRESS]:PORT for IPv6"
        raise DriverError(f"cannot connect to {target}: not an address and a port", remedy=remedy)
    return bare, int(port)

"""The network behind the door: a GET and a connection, by hand.

Only ``commands.drivers.host`` uses this. http.client is not used since loading it takes longer than a whole health
check, and a jail is down meanwhile; and since its timeout is for each packet, not for the answer.
"""

import errno
import re
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from commands.errors import DriverError

_LINE_BYTES = 64 * 1024
#: How long a led connection that the other side has refused may take to be closed.
_REFUSAL_S = 1.0

#: A Unix socket on this machine that leads to an address and a port.
Lead = Callable[[str, int], str]


def http_status(url: str, timeout_s: float, via: Lead | None = None) -> int:
    """The status code of a GET. Raises OSError, and DriverError when no HTTP is spoken or the URL is unusable."""
    deadline = time.monotonic() + timeout_s
    try:
        scheme, host, port, request = _request(url)
        with _connection(scheme, host, port, timeout_s, via) as connection:
            connection.sendall(request)
            line = _first_line(connection, deadline)
    except ValueError as error:
        remedy = "write it as http://HOST[:PORT]/PATH or https://..., without user, password or blanks"
        raise DriverError(f"cannot get {url}: not a usable URL", remedy=remedy) from error
    answer = re.fullmatch(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: .*)?\r?", line)
    if answer is None:
        raise DriverError(f"cannot get {url}: what answers there does not speak HTTP")
    return int(answer[1])


def connect(address: str, port: int, timeout_s: float) -> None:
    """Open and close a TCP connection. Raises OSError."""
    socket.create_connection((address, port), timeout=timeout_s).close()


def arrives(lead: str, timeout_s: float) -> bool:
    """Whether a connection through the socket ``lead`` stays open: one that is refused at its other end is closed.

    Where nothing is said at first, that takes a second to be sure of. Raises OSError.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(min(timeout_s, _REFUSAL_S))
        connection.connect(lead)
        try:
            return bool(connection.recv(1))
        except TimeoutError:
            return True
        except ConnectionError:
            return False


def send(url: str, payload: bytes, timeout_s: float) -> None:
    """Send bytes to ``udp://HOST:PORT``, ``tcp://HOST:PORT`` or ``unix:/PATH``. Raises OSError and DriverError."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix":
            _send_local(parts.path, payload, timeout_s)
        elif parts.scheme in ("udp", "tcp") and parts.hostname and parts.port:
            kind = socket.SOCK_DGRAM if parts.scheme == "udp" else socket.SOCK_STREAM
            family, _, _, _, address = socket.getaddrinfo(parts.hostname, parts.port, type=kind)[0]
            _send_to(family, kind, address, payload, timeout_s)
        else:
            raise ValueError(url)
    except ValueError as error:
        remedy = "write it as udp://HOST:PORT, tcp://HOST:PORT or unix:/PATH"
        raise DriverError(f"cannot send to {url}: not a usable address", remedy=remedy) from error


def _send_local(path: str, payload: bytes, timeout_s: float) -> None:
    try:
        _send_to(socket.AF_UNIX, socket.SOCK_DGRAM, path, payload, timeout_s)
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
        _send_to(socket.AF_UNIX, socket.SOCK_STREAM, path, payload, timeout_s)


def _send_to(family: int, kind: int, address: object, payload: bytes, timeout_s: float) -> None:
    with socket.socket(family, kind) as sending:
        sending.settimeout(timeout_s)
        sending.connect(address)  # type: ignore[arg-type]  # what getaddrinfo gives, or a path
        sending.sendall(payload)


def _request(url: str) -> tuple[str, str, int, bytes]:
    """Scheme, host, port and the bytes of a GET. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not re.fullmatch(r"[!-~]+", path + parts.netloc):
        raise ValueError(url)
    head = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: rootswap\r\nAccept: */*\r\n"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, parts.hostname, port, f"{head}Connection: close\r\n\r\n".encode("ascii")


def _connection(scheme: str, host: str, port: int, timeout_s: float, via: Lead | None) -> socket.socket:
    if via is None:
        connection = socket.create_connection((host, port), timeout=timeout_s)
    else:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        connection.connect(via(host, port))
    if scheme == "http":
        return connection
    import ssl

    try:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    except ssl.SSLError as error:  # its number is not an errno
        cause = getattr(error, "verify_message", None) or error.reason
        raise OSError(errno.EPROTO, f"the TLS handshake failed: {cause}") from error


def _first_line(connection: socket.socket, deadline: float) -> bytes:
    """What is sent up to the first line feed, at most 64 KiB. Raises OSError at the deadline."""
    received = b""
    while b"\n" not in received and len(received) < _LINE_BYTES:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        chunk = connection.recv(4096)
        if not chunk:
            break
        received += chunk
    return received.partition(b"\n")[0]

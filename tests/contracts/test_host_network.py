"""LocalHost, natively: health checks over the network."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commands.drivers.host import LocalHost
from commands.errors import DriverError

PYTHON = sys.executable


@pytest.fixture
def host() -> LocalHost:
    return LocalHost()


# --- network ----------------------------------------------------------------------------------------------------------


@contextmanager
def server(*answers: bytes, pause_s: float = 0) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives one client these answers, one after the other; its port and what was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(65536))
            for answer in answers:
                try:
                    connection.sendall(answer)
                except OSError:
                    return
                time.sleep(pause_s)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        thread.join(5)


@pytest.mark.parametrize("status", [200, 301, 404, 503])
def test_a_get_tells_the_status_and_follows_nothing(host: LocalHost, status: int) -> None:
    answer = f"HTTP/1.1 {status} What\r\nLocation: /x\r\n\r\n".encode()
    with server(answer[:5], answer[5:], pause_s=0.01) as (port, asked):
        assert host.http_status(f"http://127.0.0.1:{port}/page?x=1#y", 5) == status
    lines = asked[0].split(b"\r\n")
    assert lines[0] == b"GET /page?x=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}".encode() in lines
    assert b"Connection: close" in lines


def test_a_get_through_no_proxy(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    with server(b"HTTP/1.0 204\r\n\r\n") as (port, _):
        assert host.http_status(f"http://127.0.0.1:{port}", 5) == 204


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 20\r\n", b"HTTP/1.1 2000 x\r\n", b"x" * 70000]
)
def test_what_is_no_http_is_told(host: LocalHost, answer: bytes) -> None:
    with server(answer) as (port, _), pytest.raises(DriverError, match="cannot get http://127"):
        host.http_status(f"http://127.0.0.1:{port}/", 5)


def test_the_timeout_is_for_the_whole_answer_not_for_each_packet(host: LocalHost) -> None:
    started = time.monotonic()
    with server(*[b"H"] * 40, pause_s=0.05) as (port, _):
        with pytest.raises(DriverError, match="timed out"):
            host.http_status(f"http://127.0.0.1:{port}/", 0.3)
        assert time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "http://", "http://u:p@127.0.0.1/", "http://127.0.0.1/a b", "http://127.0.0.1:99999/", "x",
     "http://127.0.0.1/\u00e9", "http://[::1/", f"http://{'a' * 70}.example/"],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_told(host: LocalHost, url: str) -> None:
    with pytest.raises(DriverError, match="not a usable URL"):
        host.http_status(url, 1)


def test_https_checks_the_certificate(host: LocalHost, tmp_path: Path) -> None:
    pair = [str(tmp_path / "key"), str(tmp_path / "cert")]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", pair[0]]
    made = host.run(["openssl", "req", "-x509", "-subj", "/CN=localhost", *key, "-out", pair[1]], check=False)
    if made.status != 0:
        pytest.skip("needs openssl")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])

    def serve() -> None:
        connection, _ = listener.accept()
        with pytest.raises(OSError):
            context.wrap_socket(connection, server_side=True)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(DriverError, match=r"TLS handshake failed: self.signed certificate"):
            host.http_status(f"https://localhost:{listener.getsockname()[1]}/", 5)
        thread.join(5)


def test_a_connection_is_made_or_told_to_be_refused(host: LocalHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        host.connect("127.0.0.1", port, 1)
    with pytest.raises(DriverError, match=f"cannot connect to 127.0.0.1 port {port}: connection refused"):
        host.connect("127.0.0.1", port, 1)

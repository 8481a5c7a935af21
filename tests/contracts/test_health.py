"""The contract of health checks, over real sockets on this machine."""

import socket
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from commands.drivers.base import Completed, HealthCheck, JailSpec
from commands.drivers.health import HostHealth, address_and_port
from commands.drivers.host import LocalHost
from commands.errors import DriverError

JAIL = JailSpec(driver="pretended", name="web", root="/", command=("/bin/true",))


class Answers(BaseHTTPRequestHandler):
    """Answers /502 with 502; /hang never."""

    def do_GET(self) -> None:
        if self.path == "/hang":
            self.server.hang.wait(10)  # type: ignore[attr-defined]
        self.send_response(int(self.path.strip("/") or 200))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


class PretendedJails:
    """Executes nothing and says what it was asked."""

    def __init__(self, answer: Completed | DriverError) -> None:
        self.answer = answer
        self.asked: list[tuple[str, tuple[str, ...], float]] = []

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        self.asked.append((jail.name, tuple(argv), timeout_s))
        if isinstance(self.answer, DriverError):
            raise self.answer
        return self.answer


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    server.hang = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.hang.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def ask(jails: PretendedJails | None = None, **values: Any) -> str | None:
    check = HealthCheck.model_validate({"name": "page", "timeout_s": 2.0, **values})
    return HostHealth(LocalHost(), {"pretended": jails} if jails else {}).ask(check, JAIL)  # type: ignore[dict-item]


def test_the_expected_status_is_well(address: str) -> None:
    assert ask(http=f"http://{address}/") is None
    assert ask(http=f"http://{address}/404", expect_status=404) is None


def test_another_status_is_told_with_what_was_expected(address: str) -> None:
    assert ask(http=f"http://{address}/502") == f"http://{address}/502 answered 502, expected 200"
    assert ask(http=f"http://{address}/", expect_status=301) == f"http://{address}/ answered 200, expected 301"


def test_no_answer_is_told_in_one_line(silent: str, address: str) -> None:
    refused = ask(http=f"http://{silent}/")
    late = ask(http=f"http://{address}/hang", timeout_s=0.2)
    assert refused is not None and "refused" in refused and "\n" not in refused
    assert late is not None and "timed out" in late


def test_a_port_is_well_while_somebody_listens(address: str, silent: str) -> None:
    assert ask(tcp=address) is None
    said = ask(tcp=silent)
    assert said is not None and "refused" in said


def test_a_port_of_ipv6_is_asked() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert ask(tcp=f"[::1]:{server.getsockname()[1]}") is None


def test_a_command_is_asked_inside_the_jail() -> None:
    jails = PretendedJails(Completed(0, "", ""))
    assert ask(jails, command=("/bin/check", "-v")) is None
    assert jails.asked == [("web", ("/bin/check", "-v"), 2.0)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Completed(3, "some\n", ""), "/bin/check ended with status 3: some"),
        (Completed(3, "some\n", "first\nlast  words\n\n"), "/bin/check ended with status 3: last words"),
        (Completed(1, "", ""), "/bin/check ended with status 1"),
        (DriverError("cannot run it:\nthe jail is gone"), "cannot run it: the jail is gone"),
    ],
)
def test_a_command_that_is_not_content_is_told_in_one_line(answer: Completed | DriverError, said: str) -> None:
    assert ask(PretendedJails(answer), command=("/bin/check",)) == said


def test_a_check_that_asks_nothing_is_not_well() -> None:
    assert ask() == "the health check page asks nothing: it has neither http nor tcp nor command"


@pytest.mark.parametrize(
    ("target", "expected"),
    [("10.0.0.1:80", ("10.0.0.1", 80)), ("[fd00::2]:5432", ("fd00::2", 5432)), ("db.example:1", ("db.example", 1))],
)
def test_an_address_and_a_port_are_told_apart(target: str, expected: tuple[str, int]) -> None:
    assert address_and_port(target) == expected


@pytest.mark.parametrize(
    "target", ["", "80", ":80", "host", "host:", "host:0", "host:65536", "host:http", "fd00::2", "[]:1"]
)
def test_what_is_no_address_and_port_is_refused(target: str) -> None:
    with pytest.raises(DriverError, match="not an address and a port"):
        address_and_port(target)

"""A client that asks each millisecond, over a new connection each time, and remembers the longest silence.

``python -m tests.demo.client PORT`` prints a line once it got its first answer, and its account on SIGTERM.
"""

import json
import signal
import socket
import sys
import time

_EVERY_S = 0.001
_PATIENCE_S = 2.0


def ask(port: int) -> str | None:
    """The page, or None unless all of it came with status 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\nHost: demo\r\n\r\n")
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
    except OSError:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return " ".join(body.decode().split()) if head.startswith(b"HTTP/1.1 200 ") else None


class Account:
    """What the client saw; times are monotonic, in seconds."""

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0
        self.longest_s = 0.0
        self.pages: list[str] = []
        self._last: float | None = None

    def note(self, page: str | None, now: float) -> None:
        """Count an answer that came at ``now``."""
        if page is None:
            self.bad += 1
            return
        self.good += 1
        if self._last is not None:
            self.longest_s = max(self.longest_s, now - self._last)
        self._last = now
        if page not in self.pages:
            self.pages.append(page)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(
            {"good": self.good, "bad": self.bad, "longest_ms": round(self.longest_s * 1000, 1), "pages": self.pages}
        )


def main() -> None:
    """Ask until SIGTERM."""
    port = int(sys.argv[1])
    account = Account()
    is_over = False

    def end(_number: int, _frame: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    following = time.monotonic()
    while not is_over:
        page = ask(port)
        account.note(page, time.monotonic())
        if account.good == 1 and page is not None:
            print("asking", flush=True)
        following += _EVERY_S
        late_s = time.monotonic() - following
        if late_s < 0:
            time.sleep(-late_s)
        else:
            following += late_s
    print(account.to_json(), flush=True)


if __name__ == "__main__":
    main()

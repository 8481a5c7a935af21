"""Runs in the guest: does what the host asks over a virtio serial port, one JSON object a line in each direction.

A request is {"id", "argv", "timeout_s", "environment", "stdin"}; its answer {"id", "status", "stdout", "stderr"}. With
"told": true each line of the command's standard output is passed on at once as {"id", "line"}, and {"id", "say"} writes
to its standard input, without an answer. Python's standard library only, for it runs before anything of ours is there.
"""

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tell = Callable[[dict[str, Any]], None]
#: The commands whose lines are passed on.
FOLLOWED: dict[int, "subprocess.Popen[bytes]"] = {}
PORT = "/dev/virtio-ports/agent"


def main() -> None:
    """Say hello, then serve until the power goes."""
    with open(PORT, "r+b", buffering=0) as port:
        tell = teller(port)
        tell({"hello": Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "uptime_s": time.monotonic()})
        rest = b""
        while True:
            chunk = port.read(65536)
            if not chunk:  # nobody has opened the other end
                time.sleep(0.02)
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if b'"say"' in line:
                    say(json.loads(line))
                elif line.strip():
                    threading.Thread(target=obey, args=(json.loads(line), tell), daemon=True).start()


def teller(port: Any) -> Tell:
    """A function that sends one object, whole, from any thread."""
    lock = threading.Lock()

    def tell(content: dict[str, Any]) -> None:
        data = json.dumps(content).encode() + b"\n"
        with lock:
            while data:
                data = data[port.write(data) or 0 :]

    return tell


def say(request: dict[str, Any]) -> None:
    """Write to a command that runs, unless it has ended."""
    with contextlib.suppress(KeyError, OSError):
        stdin = FOLLOWED[request["id"]].stdin
        assert stdin is not None
        stdin.write(request["say"].encode())
        stdin.flush()


def obey(request: dict[str, Any], tell: Tell) -> None:
    """Run one command and answer."""
    answer = {"id": request["id"], "status": 127, "stdout": "", "stderr": ""}
    try:
        told = (lambda line: tell({"id": request["id"], "line": line})) if request.get("told") else None
        answer.update(run(request, told))
    except subprocess.TimeoutExpired as error:
        answer.update(status=124, stdout=text(error.stdout), stderr=text(error.stderr) + "\n(timed out in the guest)")
    except OSError as error:
        answer["stderr"] = str(error)
    tell(answer)


def run(request: dict[str, Any], told: Callable[[str], None] | None) -> dict[str, Any]:
    """The status and output of a command."""
    environment = {**os.environ, **request.get("environment", {})}
    process = subprocess.Popen(
        request["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=request.get("cwd"),
    )
    if told is not None:
        FOLLOWED[request["id"]] = process
        return follow(process, told)
    try:
        out, err = process.communicate(request["stdin"].encode(), request["timeout_s"])
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return {"status": process.returncode, "stdout": text(out), "stderr": text(err)}


def follow(process: "subprocess.Popen[bytes]", told: Callable[[str], None]) -> dict[str, Any]:
    """Pass on what a command prints, line by line; its status and its errors."""
    assert process.stdout
    assert process.stderr
    errors: list[bytes] = []
    stderr = process.stderr
    reader = threading.Thread(target=lambda: errors.append(stderr.read()), daemon=True)
    reader.start()
    for line in process.stdout:
        told(text(line).rstrip("\n"))
    reader.join()
    return {"status": process.wait(), "stderr": text(b"".join(errors))}


def text(content: bytes | None) -> str:
    """Output as text, whatever it is."""
    return (content or b"").decode(errors="replace")


if __name__ == "__main__":
    main()

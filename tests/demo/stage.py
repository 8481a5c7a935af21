"""The stage of the demo: its private directory, the command line as a person would use it, and the way to clean up."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from commands.drivers.jail_layout import cgroup_of
from tests.demo.client import ask

_HOME = Path("/var/tmp/rootswap-demo")
_FIRST_PORT = 18080
_CGROUPS = Path("/sys/fs/cgroup")


class Surprise(Exception):
    """Something did not come true."""


class Stage:
    """A machine in a directory: configuration, state, pool image, and a jail with nginx on a port of the host."""

    def __init__(self, home: Path = _HOME) -> None:
        self.home = home
        self.etc = home / "etc"
        self.state = home / "state"
        self.image = home / "pool.img"
        self.port = _FIRST_PORT

    # --- the command line ---

    def prepare(self) -> None:
        """Make the directory, and choose a port that is free."""
        while _is_taken(self.port):
            self.port += 1
        for directory in (self.home, self.etc, self.etc / "conf.d"):
            directory.mkdir(mode=0o755)
        os.environ["ROOTSWAP_CONFIG"] = str(self.etc)
        os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.say(f"$ export ROOTSWAP_CONFIG={self.etc}")

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Write a file of the administrator's, and show it."""
        path = self.home / name
        path.write_text(text)
        path.chmod(mode)
        self.say(f"$ cat {path}")
        print("".join(f"    {line}\n" for line in text.splitlines()), flush=True)
        return path

    def rootswap(self, *words: str, expect: int = 0) -> str:
        """Run a command, echo it with all that it prints, and return its result. Raises Surprise at another status."""
        self.say(f"$ rootswap {' '.join(_quoted(word) for word in words)}")
        done = subprocess.run(["rootswap", *words], stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, end="", flush=True)
        if done.returncode != expect:
            raise Surprise(f"`rootswap {' '.join(words)}` ended with {done.returncode} instead of {expect}")
        if expect:
            print(f"(exit code {expect}, as expected)", flush=True)
        return done.stdout

    def asked(self, *words: str) -> Any:
        """The data of a command, quietly."""
        done = subprocess.run(["rootswap", *words, "-o", "json"], capture_output=True, text=True, check=False)
        try:
            return json.loads(done.stdout)["data"]
        except ValueError as error:
            raise Surprise(f"`rootswap {' '.join(words)} -o json` printed {done.stdout!r} {done.stderr!r}") from error

    def say(self, text: str) -> None:
        """A line of the story."""
        bold = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
        print(f"{bold[0]}{text}{bold[1]}", flush=True)

    def chapter(self, title: str) -> None:
        """A heading."""
        print(flush=True)
        self.say(f"=== {title}")

    def expect(self, is_so: bool, what: str) -> None:
        """Check off an expectation. Raises Surprise when it is not so."""
        if not is_so:
            raise Surprise(f"expected: {what}")
        print(f"[ok] {what}", flush=True)

    # --- the outside world ---

    def page(self) -> str | None:
        """What the jail serves at this moment; None for nothing good."""
        return ask(self.port)

    def page_within(self, seconds: float) -> str | None:
        """What the jail serves, once it does."""
        deadline = time.monotonic() + seconds
        while (page := self.page()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return page

    def runs_under_lxc(self, jail: str) -> bool:
        """What LXC itself says."""
        argv = ["lxc-info", "-P", str(self.state / "lxc"), "-n", jail, "-s"]
        return "RUNNING" in subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout

    @contextmanager
    def client(self) -> Iterator[dict[str, Any]]:
        """A client in a process of its own; its account is filled in at the end of the block."""
        account: dict[str, Any] = {}
        argv = [sys.executable, "-m", "tests.demo.client", str(self.port)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                if not process.stdout.readline():
                    raise Surprise("the client got no answer")
                self.say(f"(a client asks http://127.0.0.1:{self.port}/ each millisecond)")
                yield account
                time.sleep(0.2)
            finally:
                process.terminate()
            account.update(json.loads(process.stdout.readline()))

    # --- the end ---

    def clean(self) -> None:
        """Stop the jail, unmount, delete. Raises Surprise when something stays."""
        if not self.home.exists():
            return
        lxc = self.state / "lxc"
        jails = sorted(path.name for path in lxc.iterdir()) if lxc.is_dir() else []
        for name in jails:
            subprocess.run(["lxc-stop", "-P", str(lxc), "-n", name, "-k"], capture_output=True, check=False)
            for driver in ("oci", "nspawn"):
                _kill(cgroup_of(str(self.state / driver / name)))
        for path in _mounts_beneath(self.home):
            subprocess.run(["umount", path], check=False)
        left = _mounts_beneath(self.home)
        if left:
            raise Surprise(f"cannot unmount {', '.join(left)}; is somebody in there? (fuser -vm {left[0]})")
        loops = subprocess.run(
            ["losetup", "-nO", "NAME", "-j", str(self.image)], stdout=subprocess.PIPE, text=True, check=False
        )
        for device in loops.stdout.split():
            subprocess.run(["losetup", "-d", device], check=False)
        for name in jails:
            for driver in ("lxc", "oci", "nspawn"):
                _remove_cgroups(cgroup_of(str(self.state / driver / name)))
        shutil.rmtree(self.home)


def _kill(group: str) -> None:
    """Kill what another runtime than LXC may still run, wherever cgroup2 is mounted."""
    for top in (_CGROUPS, _CGROUPS / "unified"):
        with suppress(OSError):
            (top / group / "cgroup.kill").write_text("1")


def _remove_cgroups(group: str) -> None:
    """Remove what LXC leaves of a jail in every hierarchy. Raises Surprise when processes keep it."""
    tops = [_CGROUPS, *(path for path in _CGROUPS.iterdir() if path.is_dir())]
    deadline = time.monotonic() + 5
    for top in tops:
        while (top / group).is_dir() and not _remove_directories(top / group):
            if time.monotonic() > deadline:
                raise Surprise(f"cannot remove {top / group}: it still has processes")
            time.sleep(0.05)
        with suppress(OSError):  # another jail of rootswap is in there
            (top / group).parent.rmdir()


def _remove_directories(top: Path) -> bool:
    """Remove a tree of cgroups, whose files go with their directory; False if it is busy."""
    try:
        for place, _, _ in os.walk(top, topdown=False):
            os.rmdir(place)
    except OSError:
        return False
    return True


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _mounts_beneath(directory: Path) -> list[str]:
    """What is mounted there, the last mount first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [place for place in reversed(places) if Path(place).is_relative_to(directory)]

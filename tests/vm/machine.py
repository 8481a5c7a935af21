"""One QEMU machine, emulated in software. It dies with the test that started it, and its console goes to a file."""

import json
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.vm.debian import tail
from tests.vm.disk import Guest

#: A boot takes 10 s on an idle machine; the rest is for one that is not.
BOOT_TIMEOUT_S = 1800.0


class GuestFailed(AssertionError):
    """The guest did not do what it was asked; the message ends with the end of its console."""


class PowerIsOff(Exception):
    """The machine went away while it was being asked."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended in the guest."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk of the machine: what QEMU opens, and the serial number by which the guest finds it."""

    serial: str
    file: str
    format: str = "raw"
    read_only: bool = False


class Machine:
    """A machine that is switched on by ``boot`` or ``resume`` and off by ``cut``; a context manager."""

    def __init__(self, directory: Path, guest: Guest, drives: Sequence[Drive], *, cpus: int = 1) -> None:
        self.directory = directory
        self.console = directory / "console.log"
        self._guest = guest
        self._drives = drives
        self._cpus = cpus
        self._qemu: subprocess.Popen[bytes] | None = None
        self._agent: socket.socket | None = None
        self._rest = b""
        self._asked = 0

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.cut()

    # --- power ---

    def boot(self) -> float:
        """Switch on, wait for systemd to have started the agent; how long that took, in seconds."""
        began = time.monotonic()
        self.switch_on()
        self.answer(time.monotonic() + BOOT_TIMEOUT_S)
        return time.monotonic() - began

    def resume(self, snapshot: str) -> None:
        """Switch on in the state that ``save`` has kept."""
        self.switch_on("-loadvm", snapshot)

    def switch_on(self, *extra: str) -> None:
        """Only that; whoever wants to know when the guest is up calls ``boot``."""
        assert self._qemu is None, "the power is on"
        for name in ("agent", "monitor"):
            (self.directory / name).unlink(missing_ok=True)
        log = (self.directory / "qemu.log").open("ab")
        argv = ["setpriv", "--pdeathsig", "KILL", *self._argv(), *extra]
        self._qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self._agent = self._connect("agent")

    def cut(self) -> None:
        """Cut the power: SIGKILL, without a word to the guest. Already off is success."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
        self._rest = b""

    def save(self, snapshot: str) -> None:
        """Keep memory and disks under a name (all writable drives must be qcow2)."""
        said = self._monitor(f"savevm {snapshot}")
        if said.strip():
            raise GuestFailed(f"cannot save the machine: {said}")

    # --- asking ---

    def run(
        self,
        *argv: str,
        timeout_s: float = 900,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        cwd: str | None = None,
    ) -> Done:
        """Run a command in the guest. Raises GuestFailed at a status other than 0, unless ``check`` is off."""
        number = self.ask(
            {"argv": argv, "timeout_s": timeout_s, "environment": environment or {}, "stdin": stdin, "cwd": cwd}
        )
        deadline = time.monotonic() + timeout_s + 300
        while (answer := self.answer(deadline)).get("id") != number:
            pass
        done = Done(argv, int(str(answer["status"])), str(answer["stdout"]), str(answer["stderr"]))
        if check and done.status != 0:
            raise GuestFailed(f"{' '.join(argv)} ended with {done.status}\n{done.stdout}{done.stderr}")
        return done

    def start(self, *argv: str) -> "Program":
        """Start a command in the guest; no other may be asked for until it has ended, or the power is off."""
        return Program(self, argv, self.ask({"argv": argv, "told": True}))

    # --- QEMU ---

    def _argv(self) -> list[str]:
        here = self.directory
        append = (
            # The kernel counts ticks for a moment and gives up if there are none, as in a guest that has to wait.
            "no_timer_check root=/dev/vda rw console=ttyS0 mitigations=off nokaslr apparmor=0 "
            "quiet loglevel=4 systemd.show_status=0 panic=-1"
        )
        argv = [
            "qemu-system-x86_64", "-name", "rootswap-vm", "-M", "pc", "-accel", "tcg,tb-size=512", "-cpu", "max",
            "-smp", str(self._cpus), "-m", "2048", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", str(self._guest.kernel), "-initrd", str(self._guest.initrd), "-append", append,
            "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
            "-qmp", f"unix:{here}/monitor,server=on,wait=off",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={here}/agent,server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=agent",
        ]  # fmt: skip
        for drive in self._drives:
            how = f"format={drive.format},cache=writeback,readonly={'on' if drive.read_only else 'off'}"
            argv += [
                "-drive", f"if=none,id={drive.serial},file={drive.file},{how}",
                "-device", f"virtio-blk-pci,drive={drive.serial},serial={drive.serial}",
            ]  # fmt: skip
        return argv

    def _connect(self, name: str) -> socket.socket:
        deadline = time.monotonic() + 300
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.directory / name))
                return connection
            except OSError as error:
                connection.close()
                if self._qemu is None or self._qemu.poll() is not None or time.monotonic() > deadline:
                    raise self._failure(f"QEMU does not start: {error}") from error
                time.sleep(0.01)

    def _monitor(self, command: str) -> str:
        with self._connect("monitor") as connection, connection.makefile("rw") as file:
            connection.settimeout(900)
            file.readline()
            answer: dict[str, object] = {}
            result: dict[str, object] = {}
            for request in (
                {"execute": "qmp_capabilities"},
                {"execute": "human-monitor-command", "arguments": {"command-line": command}},
            ):
                file.write(json.dumps(request) + "\n")
                file.flush()
                while not answer.keys() & {"return", "error"} or "timestamp" in answer:
                    answer = json.loads(file.readline())
                result, answer = answer, {}
            return str(result.get("return", result))

    # --- the agent ---

    def ask(self, request: Mapping[str, object]) -> int:
        """Send the agent a request; its number."""
        assert self._agent is not None, "the power is off"
        self._asked += 1
        self._agent.settimeout(300)
        self._agent.sendall(json.dumps({"id": self._asked, **request}).encode() + b"\n")
        return self._asked

    def answer(self, deadline: float, moment: float = float("inf")) -> dict[str, object]:
        """What the agent says next; empty when ``moment`` comes first. Raises GuestFailed at the deadline."""
        while b"\n" not in self._rest:
            assert self._agent is not None, "the power is off"
            left = min(deadline, moment) - time.monotonic()
            if left <= 0:
                if moment <= deadline:
                    return {}
                raise self._failure("the guest does not answer in time")
            self._agent.settimeout(left)
            with suppress(TimeoutError):
                chunk = self._agent.recv(1 << 20)
                if not chunk:
                    raise self._failure("QEMU has ended")
                self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        content: dict[str, object] = json.loads(line)
        return content

    def _failure(self, what: str) -> GuestFailed:
        logs = (self.console, self.directory / "qemu.log")
        return GuestFailed("\n".join([what, *(f"--- the end of {log}:\n{tail(log)}" for log in logs)]))


class Program:
    """A command that runs in the guest."""

    def __init__(self, machine: Machine, argv: Sequence[str], number: int) -> None:
        self._machine = machine
        self._argv = argv
        self._number = number

    def say(self, text: str) -> None:
        """Write to its standard input."""
        self._machine.ask({"id": self._number, "say": text})

    def line(self, timeout_s: float = 1800, moment: float = float("inf")) -> str | None:
        """What it prints next; None when it has ended well, or when ``moment`` has come (of the monotonic clock).

        Raises GuestFailed when it ends with another status than 0.
        """
        while True:
            answer = self._machine.answer(time.monotonic() + timeout_s, moment)
            if not answer:
                return None
            if answer.get("id") != self._number:
                continue
            if "line" in answer:
                return str(answer["line"])
            if answer["status"] == 0:
                return None
            raise GuestFailed(f"{' '.join(self._argv)} ended with {answer['status']}\n{answer['stderr']}")

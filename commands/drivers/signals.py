"""Signals: their names, and sending one to the first process of a jail."""

import os
import signal


def signal_word(name: str) -> str:
    """A signal as kill(1) and every runtime understand it: a plain name stays, one counted from SIGRTMIN or SIGRTMAX
    becomes its number (34 and 64, as the C libraries of Linux count)."""
    for base, number, sign in (("SIGRTMIN+", 34, 1), ("SIGRTMAX-", 64, -1)):
        if name.startswith(base):
            return str(number + sign * int(name.removeprefix(base)))
    return str(int(signal.Signals[name])) if name.startswith("SIGRT") else name


def send(pid: int, cgroup: str, name: str) -> bool:
    """Send a signal to a process of a cgroup; False when the process has died, or the number is somebody else's now.

    What is looked at is what gets the signal: the number stays taken for as long as the process lives that
    pidfd_open(2) has found. Raises OSError.
    """
    word = signal_word(name)
    number = int(word) if word.isdigit() else signal.Signals[word]
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            if cgroup not in file.read():
                return False
        signal.pidfd_send_signal(process, number)
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(process)
    return True

"""What a jail prints: its standard output and error are kept in a file of bounded size in the jail's directory.

A runtime gives its jail the output that it has itself, which would be a pipe to the engine: the jail would die of it
when the engine ends. So a small loop of dd(1) reads a named pipe for as long as any process of the jail holds it open.
It needs nothing but a POSIX shell, outlives the engine, and loses rather than blocks: on a full disk it throws away.
"""

from collections.abc import Sequence

from commands.drivers.base import Host

#: The newest output; older is in ``output.1``, oldest is gone.
OUTPUT = "output"
_PIPE = "output.pipe"
_LIMIT_BYTES = 4 << 20
_TOLD_BYTES = 2048

#: home, limit, and the cgroup that the loop moves to, for it must outlive the service that called the engine.
#: A loop that waits for a start that never came is let go by opening its pipe for an instant. No program is started but
#: the shell: this is done while a jail is down.
#: dd counts what it reads, and at most 1024 times 4 KiB: the file is at most 4 MiB larger than the limit.
_KEEP = """\
umask 077
pipe=$1/output.pipe file=$1/output
if [ -p "$pipe" ]; then : <>"$pipe"; else rm -f "$pipe" && mkfifo "$pipe"; fi || exit 1
{
    [ -d "$3" ] || mkdir -p "$3"
    echo 0 >"$3/cgroup.procs"
    while :; do
        said=$(dd bs=4096 count=1024 2>&1 >>"$file") || said=$(dd bs=4096 count=1024 2>&1 of=/dev/null) ||
            exec cat >/dev/null
        case $said in "0+0 "*) exit ;; esac
        [ "$(wc -c <"$file")" -lt "$2" ] || mv -f "$file" "$file.1"
    done
} <"$pipe" >/dev/null 2>&1 &
shift 3; [ $# = 0 ] || exec "$@"
"""
_RELEASE = '[ ! -p "$1/output.pipe" ] || : <>"$1/output.pipe"'
_INTO = 'pipe=$1/output.pipe; shift; exec "$@" >"$pipe" 2>&1'


def keep_output(host: Host, home: str, cgroup: str, then: Sequence[str] = ()) -> int:
    """Make ready to keep what the jail whose files are in ``home`` is going to print; the exit status.

    ``then`` is a command that is run right after it, by the same process. Both hold nothing of the engine's.
    """
    argv = ["/bin/sh", "-c", _KEEP, "sh", home, str(_LIMIT_BYTES), cgroup, *then]
    return host.run(argv, check=not then, holds_lock=False).status


def release_output(host: Host, home: str) -> None:
    """Let go of what waits to keep the output of a start that never came; it does not disturb what is at work."""
    host.run(["/bin/sh", "-c", _RELEASE, "sh", home])


def into_output(home: str, argv: Sequence[str]) -> list[str]:
    """The command that runs ``argv`` with its output going where ``keep_output`` reads."""
    return ["/bin/sh", "-c", _INTO, "sh", home, *argv]


def output_pipe(home: str) -> str:
    """Where a command prints what is to be kept; opening it waits until it is read."""
    return f"{home}/output.pipe"


def kept_bytes(host: Host, home: str) -> int:
    """How much is in the newest file."""
    found = host.stat(f"{home}/{OUTPUT}")
    return found.size_bytes if found else 0


def kept_since(host: Host, home: str, before: int) -> str:
    """The beginning of what was printed since the file held ``before`` bytes."""
    if kept_bytes(host, home) <= before:
        return ""
    printed = host.read(f"{home}/{OUTPUT}")[before : before + _TOLD_BYTES]
    return printed.decode(errors="replace")

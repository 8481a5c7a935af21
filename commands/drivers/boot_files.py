"""What a machine runs at its boot for rootswap, as text. Pure: the same command always gives the same files.

On Linux two systemd services and a timer, on FreeBSD a script for rc(8). Each settles what a crash has left open,
mounts every jail's root and starts the jails that ran, before anything else on the machine starts containers.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from commands.drivers.platform import System

#: The line by which a file is known to be ours.
MARK = "# Written by `rootswap boot install`; `rootswap boot remove` takes it away."
RECOVER_UNIT = "rootswap-recover.service"
VERIFY_UNIT = "rootswap-verify.service"
VERIFY_TIMER = "rootswap-verify.timer"

_UNITS = "/etc/systemd/system"
_RC_SCRIPT = "/usr/local/etc/rc.d/rootswap_recover"

# Jails are started by recovery itself, so what their network and their storage need has to be there. lxc.service and
# machines.target start the containers of others, which may use what a jail of ours serves or mount what is in the pool;
# Docker and its like know nothing of either, and are not kept waiting.
_RECOVER = """\
{mark}
[Unit]
Description=Settle interrupted rootswap transactions, mount the roots of jails and start them
After=local-fs.target network.target lxc-net.service zfs-mount.service
Before=machines.target lxc.service
RequiresMountsFor={mounts}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command} recover
# An undo may have to wait for a jail to stop; it must not be killed half way.
TimeoutStartSec=infinity
# The jails that it starts are not part of the service: they outlive it, and a restart of it leaves them alone.
KillMode=process

[Install]
WantedBy=multi-user.target
"""

_VERIFY = """\
{mark}
[Unit]
Description=Verify every record of the rootswap ledger
After=local-fs.target
RequiresMountsFor={state}

[Service]
Type=oneshot
ExecStart={command} audit verify
Nice=10
IOSchedulingClass=idle
"""

_TIMER = """\
{mark}
[Unit]
Description=Verify the rootswap ledger once a day

[Timer]
OnCalendar=daily
RandomizedDelaySec=1h
Persistent=true

[Install]
WantedBy=timers.target
"""

# rc(8) starts jails after LOGIN, and so does recovery: their addresses and device rules have to be there.
_RC = """\
#!/bin/sh
{mark}

# PROVIDE: rootswap_recover
# REQUIRE: FILESYSTEMS zfs LOGIN
# BEFORE: jail
# KEYWORD: nojail

. /etc/rc.subr

name="rootswap_recover"
desc="Settle interrupted rootswap transactions, mount the roots of jails and start them"
rcvar="rootswap_recover_enable"
start_cmd="rootswap_recover_start"
stop_cmd=":"

rootswap_recover_start()
{{
	{command} recover
	_status=$?
	if [ "$_status" -ne 0 ]; then
		warn "recovery has ended with status $_status: a jail may have no root and stays down; see: rootswap status"
	fi
	return "$_status"
}}

load_rc_config "$name"
: "${{rootswap_recover_enable:=YES}}"
run_rc_command "$1"
"""


@dataclass(frozen=True, slots=True)
class BootFile:
    """A file of ours: where, with which mode, and what is in it."""

    path: str
    mode: int
    text: str

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self.text.encode()


def boot_files(system: System, command: Sequence[str], state_directory: str, pool: str) -> tuple[BootFile, ...]:
    """The files for a system; ``command`` is how rootswap is called, with an absolute path.

    A pool that the administrator mounts at ``pool`` is waited for, were it marked ``nofail``.
    """
    if system == "FreeBSD":
        return (BootFile(_RC_SCRIPT, 0o755, _RC.format(mark=MARK, command=shlex.join(command))),)
    called = " ".join(_systemd_word(word) for word in command)
    mounts = " ".join(_systemd_word(path) for path in (state_directory, pool))
    filled = {"mark": MARK, "command": called, "state": _systemd_word(state_directory), "mounts": mounts}
    units = ((RECOVER_UNIT, _RECOVER), (VERIFY_UNIT, _VERIFY), (VERIFY_TIMER, _TIMER))
    return tuple(BootFile(f"{_UNITS}/{name}", 0o644, text.format(**filled)) for name, text in units)


def is_ours(content: bytes) -> bool:
    """Whether a file bears our mark, as one of its first two lines."""
    return MARK.encode() in content.split(b"\n")[:2]


def _systemd_word(word: str) -> str:
    """A word of a unit file: specifiers and variables are not expanded in it, and blanks do not part it."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if plain != word or any(c.isspace() for c in word) or not word else word

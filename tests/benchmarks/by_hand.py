"""The loop that a good administrator would write by hand for one switch, under each runtime."""

import http.client
import os
import signal
import subprocess
import time
from pathlib import Path
from subprocess import DEVNULL

from commands.drivers.base import JailSpec
from commands.drivers.cgroups import BESIDE, cgroup_mount, with_private_view
from commands.drivers.host import LocalHost
from commands.drivers.jail_layout import cgroup_of
from commands.drivers.nspawn_command import start_command
from commands.transactions.plan import JailSettled, jail_settled
from ledger.reader import LedgerReader
from tests.real.site import RealSite


def settled_of(site: RealSite) -> JailSettled:
    """Which release the jail is on, as the ledger says."""
    with LedgerReader.open(Path(site.config.ledger_directory)) as reader:
        settled = jail_settled(reader.settled("jail:web"))
    assert settled is not None
    return settled


def swap_by_hand(site: RealSite, source: str) -> None:
    """What one would put into a shell script: a handful of commands and a loop."""
    jail = settled_of(site).deployment.jail
    home = f"{site.config.state_directory}/{jail.driver}/{jail.name}"
    stop, start = {"lxc": (_stop_lxc, _start_lxc), "oci": (_stop_runc, _start_runc),
                   "nspawn": (_stop_nspawn, _start_nspawn)}[jail.driver]  # fmt: skip
    stop(jail, home)
    subprocess.run(["umount", jail.root], check=True)
    subprocess.run(["mount", "-o", "bind,ro", source, jail.root], check=True)
    start(jail, home)
    while not answers(site.ports["web"]):
        time.sleep(0.005)


def answers(port: int) -> bool:
    """Whether the jail serves."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _stop_lxc(jail: JailSpec, home: str) -> None:
    subprocess.run(["lxc-stop", "-n", jail.name, "-P", str(Path(home).parent)], check=True)


def _start_lxc(jail: JailSpec, home: str) -> None:
    subprocess.run(["lxc-start", "-n", jail.name, "-P", str(Path(home).parent), "-d", "--", *jail.command], check=True)


def _stop_runc(jail: JailSpec, home: str) -> None:
    runc = ["runc", "--root", f"{home}/state"]
    subprocess.run([*runc, "kill", jail.name, jail.stop_signal], check=True)
    while (
        '"stopped"'
        not in subprocess.run([*runc, "state", jail.name], check=True, capture_output=True, text=True).stdout
    ):
        time.sleep(0.005)
    subprocess.run([*runc, "delete", jail.name], check=True)


def _start_runc(jail: JailSpec, home: str) -> None:
    run = ["runc", "--root", f"{home}/state", "run", "--detach", "--bundle", home, jail.name]
    subprocess.run(run, check=True, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)


def _nspawn_group(home: str) -> str:
    """Where rootswap looks for the jail: the two take turns with the same one."""
    return f"{cgroup_mount(LocalHost())}/{cgroup_of(home)}/launch"


def _stop_nspawn(jail: JailSpec, home: str) -> None:
    pid = int(Path(_nspawn_group(home), "supervisor/cgroup.procs").read_text().split()[0])
    os.kill(pid, signal.SIGTERM)  # nspawn tells the jail, waits for it and tidies up
    while "populated 1" in Path(_nspawn_group(home), "cgroup.events").read_text():
        time.sleep(0.005)


def _start_nspawn(jail: JailSpec, home: str) -> None:
    command = start_command(jail, home)
    if cgroup_mount(LocalHost()) == BESIDE:
        command = with_private_view(command)
    script = 'echo 0 >"$1/cgroup.procs"; shift; "$@" &'
    subprocess.run(["/bin/sh", "-c", script, "sh", _nspawn_group(home), *command], check=True,
                   stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)  # fmt: skip

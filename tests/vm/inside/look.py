"""The guest as an outsider sees it, as JSON: mounts, what the pool holds, what is served, what the ledger says.

``python -m tests.vm.inside.look SEQ``: with the digests of the records after SEQ.
"""

import hashlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from commands.bootstrap import make_drivers
from commands.config import Config, load
from commands.drivers.base import JailState
from commands.drivers.host import LocalHost
from commands.drivers.mounts import mounted
from commands.transactions.interrupt import Interrupt
from commands.transactions.plan import jail_settled
from ledger.clock import SystemClock
from ledger.codec import Record, encode
from ledger.reader import LedgerReader

#: Far more than it takes, but for a guest that gets little of a busy machine.
_PATIENCE_S = 600.0
#: What lists everything that a pool holds, by the file system's own tools.
_LISTINGS = {
    "btrfs": ["btrfs", "subvolume", "list", "{path}"],
    "zfs": ["zfs", "list", "-H", "-t", "all", "-o", "name"],
    "lvm": ["lvs", "--noheadings", "-a", "--separator", " ", "-o", "lv_name,lv_active,lv_permissions,lv_tags"],
}


def look(after: int) -> dict[str, Any]:
    """All of it."""
    config = load().config
    with LedgerReader.open(Path(config.ledger_directory)) as reader:
        sound = reader.verify()
        records = list(reader.records(after=after))
        transactions = {row.transaction: (str(row.state), row.target) for row in reader.transactions()}
        settled = reader.settled("jail:web")
        last = reader.last_seq()
    return {
        "digests": {record.seq: digest(record) for record in records},
        "last": last,
        "sound": str(sound),
        "transactions": transactions,
        "settled": settled,
        "page": page(config, lambda: is_down(config, settled)),
        "mounts": sorted(mounts(config)),
        "objects": objects(config),
        "snapshots": sorted(snapshots(config)),
    }


def digest(record: Any) -> str:
    """The hash of a record's bytes."""
    assert isinstance(record, Record)
    return hashlib.sha256(encode(record)).hexdigest()


def page(config: Config, is_down: Callable[[], bool]) -> str:
    """What the jail serves; it may just have been started."""
    (check,) = config.jail["web"].health.values()
    assert check.http is not None
    address = check.http.split("/")[2]
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        connection = http.client.HTTPConnection(address, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/")
            return connection.getresponse().read().decode().strip()
        if is_down() or time.monotonic() > deadline:
            return "(nothing)"
        time.sleep(0.05)


def is_down(config: Config, settled: Any) -> bool:
    """Whether the jail does not run; nothing is going to start it, for this is asked once recovery is over."""
    deployed = jail_settled(settled)
    if deployed is None:
        return False
    jail = deployed.deployment.jail
    drivers = make_drivers(config, LocalHost(), SystemClock(), Interrupt())
    return drivers.jails[jail.driver].state(jail) is JailState.STOPPED


def mounts(config: Config) -> Iterator[tuple[str, str]]:
    """Whatever is mounted in rootswap's directories: where, and from where."""
    for mount in mounted(LocalHost()):
        if mount.path.startswith((config.state_directory, str(config.storage.path))):
            yield mount.path, mount.source if mount.root == "/" else f"{mount.source}{mount.root}"


def objects(config: Config) -> list[str]:
    """The names of all that the pool holds, one for each."""
    argv = [word.format(path=config.storage.path) for word in _LISTINGS[config.storage.driver]]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(line.rpartition(" path ")[2].strip() for line in lines)


def snapshots(config: Config) -> Iterator[tuple[str, list[str], bool]]:
    """The data snapshots of the jail: transaction, volumes, whether they were set aside."""
    storage = make_drivers(config, LocalHost(), SystemClock(), Interrupt()).storage
    for one in storage.snapshots("web"):
        yield one.transaction, sorted(one.volumes), one.unwound


if __name__ == "__main__":
    print(json.dumps(look(int(sys.argv[1]))))

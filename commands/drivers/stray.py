"""Mounts at the root of a jail that do not belong there, and the way to be rid of them without harm."""

from commands.drivers.base import Drivers, JailSpec, JailState, Source
from commands.remedies import for_stray_mount


def stray_mount(on: Drivers, jail: JailSpec, source: Source, layers: int, *, runs: bool) -> str | None:
    """The commands that make room for ``source`` at the root of the jail; None where nothing else is mounted there.

    ``layers`` is how many mounts there are, ``runs`` whether the jail is recorded as running. Only the topmost mount
    goes with an umount(8). A jail that may stand on that one is stopped first: the mount would be busy, or the root
    would be pulled from beneath it. Raises the errors of the drivers.
    """
    is_ours = layers > 0 and on.mounts.holds(jail.root, source)
    if layers == 0 or (layers == 1 and is_ours):
        return None
    runtime = on.jails[jail.driver]
    is_used = runtime.state(jail) is not JailState.STOPPED and (is_ours or not runtime.runs_on(jail, source))
    return for_stray_mount(jail.name, jail.root, is_used=is_used, runs=runs)

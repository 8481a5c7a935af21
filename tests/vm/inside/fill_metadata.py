"""Fills the metadata of the guest's thin pool: ``python -m tests.vm.inside.fill_metadata PERCENT``; 100: to the end.

Each thin device takes a block of it. Device-mapper is asked for them, not LVM, which takes seconds for each.
"""

import errno
import fcntl
import struct
import subprocess
import sys

#: linux/dm-ioctl.h: DM_TARGET_MSG, and struct dm_ioctl up to its name.
_TARGET_MESSAGE = 0xC138FD0E
_HEADER = struct.Struct("=3I I I I i I I I Q 128s 129s 7s")
_BUFFER_BYTES = 4096
#: LVM counts its own from 1.
_FIRST = 100_000
_POOL = "vg-pool-tpool"


def message(control: int, device: str, text: str) -> None:
    """Send a target a message, as ``dmsetup message DEVICE 0 TEXT``. Raises OSError."""
    header = _HEADER.pack(4, 0, 0, _BUFFER_BYTES, _HEADER.size, 0, 0, 0, 0, 0, 0, device.encode(), b"", b"")
    told = struct.pack("=Q", 0) + text.encode() + b"\0"
    fcntl.ioctl(control, _TARGET_MESSAGE, bytearray((header + told).ljust(_BUFFER_BYTES, b"\0")))


def used_percent() -> float:
    """How much of the metadata is in use."""
    status = subprocess.run(["dmsetup", "status", _POOL], check=True, capture_output=True, text=True).stdout
    used, total = status.split()[4].split("/")
    return 100 * int(used) / int(total)


def main(percent: float) -> None:
    """Make thin devices until so much is used, or there is no room for another."""
    number = _FIRST
    with open("/dev/mapper/control", "rb") as control:
        while percent >= 100 or used_percent() < percent:
            for _ in range(20):
                number += 1
                try:
                    message(control.fileno(), _POOL, f"create_thin {number}")
                except OSError as error:
                    if error.errno == errno.EEXIST:
                        continue
                    print(f"{error.strerror} after {number - _FIRST} devices")
                    return
    print(f"{used_percent():.0f} % after {number - _FIRST} devices")


if __name__ == "__main__":
    main(float(sys.argv[1]))

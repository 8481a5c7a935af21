"""A disk with a write cache that a power cut empties: an NBD server over a file.

What was written and not flushed is only in the cache. When the power goes, any part of it may have reached the disk,
in any order, whole blocks at a time; a flush puts all that was written before onto the disk for good.
"""

import os
import random
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

#: Disks write this much at once or not at all.
BLOCK = 4096
_MAGIC, _OPTION, _REPLY = b"NBDMAGIC", b"IHAVEOPT", 0x0003E889045565A9
_EXPORT_NAME, _ABORT, _GO = 1, 2, 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, (1 << 31) + 1
_REQUEST_MAGIC, _ANSWER_MAGIC = 0x25609513, 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH, _TRIM, _WRITE_ZEROES = 0, 1, 2, 3, 4, 6
_FUA = 1
#: Has flags; takes flush, FUA, trim, write zeroes.
_ABILITIES = 1 | 4 | 8 | 32 | 64


@dataclass(slots=True)
class Written:
    """One block as it was before and after a write that nothing has flushed yet."""

    offset: int
    before: bytes
    after: bytes


class VolatileDisk:
    """A server for one machine at a time on the Unix socket ``address``; ``path`` is the disk, the cache included.

    With ``write_through`` nothing is ever only in the cache: a power cut takes no write that was answered.
    """

    def __init__(self, path: Path, address: Path, *, write_through: bool = False) -> None:
        self.path = path
        self.address = address
        self.flushes = 0
        self._write_through = write_through
        self._file = os.open(path, os.O_RDWR)
        self._size = os.fstat(self._file).st_size
        self._cache: list[Written] = []
        self._over = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen(2)
        self._thread = threading.Thread(target=self._serve, name=f"disk {path.name}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What QEMU opens."""
        return f"nbd:unix:{self.address}"

    def lose_power(self, chance: random.Random) -> tuple[int, int]:
        """Decide what has reached the disk of all that was not flushed; how many blocks were lost, of how many.

        The machine must be off. Nothing, all or any part of it, as drives do.
        """
        if not self._idle.wait(300):
            raise TimeoutError(f"{self.path.name} is still being written to")
        odds = chance.choice((0.0, 0.5, 0.9, 1.0))
        kept = [written for written in self._cache if chance.random() < odds]
        for written in reversed(self._cache):
            os.pwrite(self._file, written.before, written.offset)
        for written in kept:
            os.pwrite(self._file, written.after, written.offset)
        lost, total = len(self._cache) - len(kept), len(self._cache)
        self._cache.clear()
        return lost, total

    def close(self) -> None:
        """Stop serving."""
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        os.close(self._file)

    # --- the protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md) ---

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._idle.clear()
            try:
                with connection:
                    if self._agree(connection):
                        while self._answer(connection):
                            pass
            except OSError:
                pass  # the power went in the middle of a request
            finally:
                self._idle.set()

    def _agree(self, connection: socket.socket) -> bool:
        """The handshake; False when the client only looked."""
        connection.sendall(_MAGIC + _OPTION + struct.pack(">H", 3))
        (flags,) = struct.unpack(">I", _exactly(connection, 4))
        while True:
            _, option, length = struct.unpack(">8sII", _exactly(connection, 16))
            _exactly(connection, length)
            if option == _EXPORT_NAME:
                connection.sendall(struct.pack(">QH", self._size, _ABILITIES) + bytes(0 if flags & 2 else 124))
                return True
            if option == _GO:
                connection.sendall(_reply(option, _INFO, struct.pack(">HQH", 0, self._size, _ABILITIES)))
                connection.sendall(_reply(option, _ACK))
                return True
            if option == _ABORT:
                connection.sendall(_reply(option, _ACK))
                return False
            connection.sendall(_reply(option, _UNSUPPORTED))

    def _answer(self, connection: socket.socket) -> bool:
        header = _exactly(connection, 28)
        magic, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", header)
        assert magic == _REQUEST_MAGIC
        data = b""
        match kind:
            case 0:
                data = os.pread(self._file, length, offset)
            case 1:
                self._write(offset, _exactly(connection, length), fua=self._write_through or bool(flags & _FUA))
            case 2:
                return False
            case 3:
                self._cache.clear()
                self.flushes += 1
            case 6:
                self._write(offset, bytes(length), fua=self._write_through or bool(flags & _FUA))
            case _:  # trim: a hint, not taken
                pass
        connection.sendall(struct.pack(">IIQ", _ANSWER_MAGIC, 0, handle) + data)
        return True

    def _write(self, offset: int, data: bytes, *, fua: bool) -> None:
        end = offset + len(data)
        at = offset
        while at < end:
            upto = min(end, at - at % BLOCK + BLOCK)
            after = data[at - offset : upto - offset]
            if not fua:
                self._cache.append(Written(at, os.pread(self._file, upto - at, at), after))
            at = upto
        os.pwrite(self._file, data, offset)
        if fua:
            self._forget(offset, data)

    def _forget(self, offset: int, data: bytes) -> None:
        """What went through the cache at once takes the place of older writes to the same blocks."""
        end = offset + len(data)
        self._cache = [one for one in self._cache if one.offset + len(one.after) <= offset or one.offset >= end]


def _reply(option: int, kind: int, data: bytes = b"") -> bytes:
    return struct.pack(">QIII", _REPLY, option, kind, len(data)) + data


def _exactly(connection: socket.socket, length: int) -> bytes:
    """So many bytes. Raises OSError when the other side is gone."""
    parts = []
    while length:
        part = connection.recv(min(length, 1 << 20))
        if not part:
            raise ConnectionResetError("the client is gone")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)

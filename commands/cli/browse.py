"""``audit browse``: the ledger in a web browser, by Datasette, on a verified copy."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli import options
from commands.cli.output import note
from commands.cli.reading import open_ledger

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from commands.config import Config
    from projections.browsing import Metadata

_LOOPBACK = "127.0.0.1"


def browse(
    ctx: typer.Context,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On which port; 0 for any that is free.")] = 0,
    keep: Annotated[
        str | None, typer.Option("--copy", metavar="DIRECTORY", help="Keep the copy in a new directory.")
    ] = None,
) -> None:
    """Look through the ledger in a web browser: tables, facets, and the questions of `audit` to fill in.

    Datasette serves a verified copy on this machine only, to whoever has the link that is printed. Needs the extra
    `browse`. ^C ends it, and removes the copy unless it is kept.

    Example: rootswap audit browse
    """
    _require_datasette()
    config = options.read_config(ctx)
    with _place(keep) as directory:
        found, paths = _copy(config, directory)
        with _listening(port) as listener:
            _serve(found, paths, listener)


def _require_datasette() -> None:
    """Raise ToolMissing where the extra is not installed."""
    from importlib.util import find_spec

    from commands.errors import ToolMissing

    if find_spec("datasette") is None:
        raise ToolMissing(
            "cannot browse the ledger: datasette is not installed",
            remedy="install it beside rootswap, into the same environment: pip install 'rootswap[browse]'",
        )


@contextmanager
def _place(keep: str | None) -> "Iterator[Path]":
    """A new directory for the copy; removed with all that is in it, unless it is to be kept. Raises UsageError."""
    from pathlib import Path

    from commands.drivers.host import LocalHost
    from commands.errors import UsageError

    host = LocalHost()
    path = os.path.abspath(keep) if keep else f"/var/tmp/rootswap-browse-{secrets.token_hex(8)}"  # noqa: S108 new, ours
    if host.stat(path) is not None:
        raise UsageError(f"cannot copy the ledger to {path}: it exists already", remedy="name a new directory")
    host.make_directory(path, mode=0o700)
    try:
        yield Path(path)
    finally:
        if keep is None:
            for directory in (f"{path}/ledger", path):
                for name in host.entries(directory):
                    host.remove(f"{directory}/{name}")
                host.remove(directory)


def _copy(config: "Config", directory: "Path") -> "tuple[Metadata, list[str]]":
    """Copy, then verify the copy: what is shown is what was verified. Raises LedgerDamaged."""
    from commands.cli.report import verified
    from ledger import schema
    from ledger.reader import LedgerReader
    from projections.browsing import metadata
    from projections.copies import copy_history, copy_ledger, digest_of

    with open_ledger(config) as reader:
        place = copy_ledger(reader, directory)
    with LedgerReader.open(place) as copied:
        verification = verified(config, copied, verify=True)
        history = copy_history(copied, directory)
    ledger = place / schema.LEDGER_FILE
    digests = {"history": history.sha256, "ledger": digest_of(ledger)}
    note(verification.sentence)
    for name, path in (("history", history.path), ("ledger", ledger)):
        note(f"{digests[name]}  {path}")
    details = "; ".join(f"{name} {said}" for name, said in verification.details)
    with history.open() as tables:
        found = metadata(tables, f"{verification.sentence} {details}", digests)
    return found, [str(history.path), str(ledger)]


@contextmanager
def _listening(port: int) -> "Iterator[socket.socket]":
    """A socket on the loopback address, and on no other. Raises UsageError."""
    import socket

    from commands.errors import UsageError

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_LOOPBACK, port))
            listener.listen()
        except OSError as error:
            raise UsageError(f"cannot listen on port {port}: {error.strerror}", remedy="name another --port") from error
        yield listener


def _serve(found: "Metadata", paths: list[str], listener: "socket.socket") -> None:
    """Serve until somebody ends it."""
    # A root tool must not load whatever plugins happen to be installed.
    os.environ["DATASETTE_LOAD_PLUGINS"] = ""
    import signal
    from contextlib import suppress

    import uvicorn
    from datasette.app import Datasette  # type: ignore[import-untyped]

    from projections.browsing import SETTINGS

    site = Datasette([], immutables=paths, metadata=found, settings=SETTINGS)
    server = uvicorn.Server(uvicorn.Config(site.app(), log_level="error", lifespan="on"))
    # Both signals are the ordinary end of this; uvicorn raises again what has ended it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        note(f"http://{_LOOPBACK}:{listener.getsockname()[1]}/-/auth-token?token={site._root_token}")
        note("open this link, which works once; ^C ends it")
        server.run(sockets=[listener])

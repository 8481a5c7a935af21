"""``rootswap boot install`` and ``boot remove``: have the machine recover by itself when it boots."""

from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli.options import ExitCodeOption, OutputOption, config_path, read_config, require_dry_run
from commands.cli.output import Format, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from commands.cli.checkup import Finding
    from commands.config import Config
    from commands.drivers.base import Host
    from commands.drivers.boot_service import BootService

_AFTER_A_BOOT = "when it has booted, run `rootswap recover` here"
PrintOnlyOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Print what would be done, change nothing.")]


def install(
    ctx: typer.Context,
    dry_run: PrintOnlyOption = False,
    exit_code: ExitCodeOption = False,
    output: OutputOption = Format.TABLE,
) -> int:
    """Have the machine recover by itself at every boot.

    Writes systemd units on Linux, a script for rc on FreeBSD: open transactions are settled and every jail's root is
    mounted before jails start. Linux also verifies the ledger once a day. Files that rootswap did not write stay.

    Example: rootswap boot install -n
    """
    from commands.cli.transact import CHANGES_PENDING, require_root
    from commands.drivers.boot_service import require_not_foreign

    require_dry_run(dry_run, exit_code)
    require_root()
    service = _service(ctx, checks_program=True)
    found = service.found()
    for one in found:
        require_not_foreign(one)
    pending = [one.file for one in found if one.there != "as wanted"]
    changes = bool(pending) or not service.is_enabled()
    if changes and not dry_run:
        service.install()
    files = [
        {
            "path": one.file.path,
            "mode": f"{one.file.mode:04o}",
            "changes": one.file in pending,
            "content": one.file.text,
        }
        for one in found
    ]
    lines = [f"{'write' if dry_run else 'wrote'} {file.path}" for file in pending]
    if changes:
        lines.append("run them at every boot" if dry_run else "they run at every boot")
    if dry_run:
        lines += [f"\n--- {file.path}\n{file.text}" for file in pending]
    text = "\n".join(lines) or "nothing to do: the boot files are there"
    show(output, {"changed": changes and not dry_run, "pending": changes and dry_run, "files": files}, text)
    return CHANGES_PENDING if changes and dry_run and exit_code else 0


def remove(
    ctx: typer.Context,
    dry_run: PrintOnlyOption = False,
    exit_code: ExitCodeOption = False,
    output: OutputOption = Format.TABLE,
) -> int:
    """Take away what `boot install` has written, and nothing else.

    Example: rootswap boot remove
    """
    from commands.cli.transact import CHANGES_PENDING, require_root

    require_dry_run(dry_run, exit_code)
    require_root()
    service = _service(ctx, checks_program=False)
    found = service.found()
    there = [one.file.path for one in found if one.there in ("as wanted", "other")]
    if there and not dry_run:
        service.remove()
    lines = [f"{'remove' if dry_run else 'removed'} {path}" for path in there]
    lines += [f"left {one.file.path}, which rootswap did not write" for one in found if one.there == "foreign"]
    text = "\n".join(lines) or "nothing to do: there are no boot files of rootswap"
    show(output, {"changed": bool(there) and not dry_run, "pending": bool(there) and dry_run, "files": there}, text)
    return CHANGES_PENDING if there and dry_run and exit_code else 0


def _service(ctx: typer.Context, *, checks_program: bool) -> "BootService":
    from commands.drivers.boot_files import boot_files
    from commands.drivers.boot_service import BootService
    from commands.drivers.host import LocalHost
    from commands.drivers.platform import system_of
    from commands.errors import Refused

    config = read_config(ctx)
    if config.host.ssh is not None:
        remedy = f"when {config.host.ssh} has booted, run `rootswap recover` on this machine"
        raise Refused(f"cannot recover at boot: {config.host.ssh} has neither rootswap nor the ledger", remedy=remedy)
    host = LocalHost()
    system = system_of(host)
    command = _command(ctx, host) if checks_program else ["rootswap"]
    return BootService(host, system, boot_files(system, command, config.state_directory, config.storage.path))


def _command(ctx: typer.Context, host: "Host") -> list[str]:
    """How this very rootswap is called: what a boot runs as root, nobody else may be able to change."""
    import os
    import sys

    from commands.drivers.trusted import require_trusted
    from commands.errors import Refused

    program = os.path.abspath(sys.argv[0])
    if not os.access(program, os.X_OK) or os.path.isdir(program):
        raise Refused(
            f"cannot tell the boot how to call rootswap: {program} is not a program",
            remedy="run it by its installed name, as /usr/local/bin/rootswap",
        )
    require_trusted(host, os.path.realpath(program))
    given = config_path(ctx)
    return [program, *(["--config", os.path.abspath(given)] if given else [])]


def boot_findings(config: "Config") -> "Iterator[Finding]":
    """For ``doctor``: whether the machine recovers by itself. Silent where there is neither systemd nor rc(8)."""
    from commands.cli.checkup import Finding
    from commands.drivers.boot_files import boot_files
    from commands.drivers.boot_service import BootService
    from commands.drivers.host import LocalHost
    from commands.drivers.platform import system_of
    from ledger.errors import RootswapError

    if config.host.ssh is not None:
        yield Finding("boot", "warning", f"{config.host.ssh} does not recover by itself", _AFTER_A_BOOT)
        return
    host = LocalHost()
    try:
        system = system_of(host)
        files = boot_files(system, ["rootswap"], config.state_directory, config.storage.path)
        service = BootService(host, system, files)
        recover, is_enabled = service.found()[0], service.is_enabled()
    except RootswapError as error:
        yield Finding("boot", "warning", error.message, error.remedy)
        return
    path = recover.file.path
    if system == "Linux" and host.stat(path.rpartition("/")[0]) is None:
        return
    if recover.there == "foreign":
        yield Finding("boot", "warning", f"{path} was not written by rootswap", "see that it runs `rootswap recover`")
    elif recover.there == "absent" or not is_enabled:
        yield Finding("boot", "warning", "the machine does not recover by itself", "`rootswap boot install`")
    else:
        yield Finding("boot", "ok", path)

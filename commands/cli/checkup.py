"""What ``doctor`` looks at. Each look gives findings and survives whatever is broken."""

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from commands.cli.output import local_time, size
from commands.cli.reading import engine_named
from commands.config import Config, read
from commands.errors import ConfigError
from commands.remedies import OPEN_ON_IT, for_open
from ledger import schema
from ledger.errors import RootswapError
from ledger.lifecycle import State
from ledger.reader import LedgerReader

_LOW_BYTES = 64 << 20
_OTHERS = 0o077
#: How many records are verified in full each time.
_VERIFIED_AT_ONCE = 5000
#: PRAGMA synchronous, as SQLite counts.
_EXTRA = 3

Verdict = Literal["ok", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one thing, and what to do about it."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def examine(given: str | None) -> list[Finding]:
    """Look at everything; ``given`` is the path of the configuration, as for the other verbs."""
    findings = [*_us(), *_durability(), *_system()]
    config = None
    try:
        reading = read(given)
        config = reading.config
        findings += [Finding("configuration", "bad", str(one), "correct it") for one in reading.mistakes]
        if config and not reading.mistakes:
            findings.append(Finding("configuration", "ok", ", ".join(reading.files)))
    except ConfigError as error:
        findings.append(_of("configuration", error))
    from commands.cli.host_findings import host_findings, tool_findings

    if config is None:
        from commands.drivers.host import LocalHost

        findings += tool_findings(Config(), LocalHost())
    else:
        from commands.cli.guards import policy_findings

        findings += [*_state(config), *_ledger(config), *host_findings(config), *policy_findings(config)]
    return findings


def _of(check: str, error: RootswapError) -> Finding:
    return Finding(check, "bad", error.message, error.remedy)


# --- ourselves --------------------------------------------------------------------------------------------------------


def _us() -> Iterator[Finding]:
    import commands
    import ledger
    import projections

    homes = {str(Path(package.__path__[0]).parent) for package in (commands, ledger, projections)}
    if len(homes) == 1:
        yield Finding("packages", "ok", f"rootswap {commands.__version__} in {homes.pop()}")
    else:
        remedy = "install rootswap into a directory of its own: a foreign package of the same name is in the way"
        yield Finding(
            "packages", "bad", f"commands, ledger and projections are from {' and '.join(sorted(homes))}", remedy
        )
    yield Finding("python", "ok", platform.python_version())
    for name in ("sqlite-utils", "pydantic", "typer"):
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "bad", "not installed", "install rootswap with its own dependencies")


def _system() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("root", "ok", "yes")
    else:
        yield Finding("root", "warning", "no; some looks need it", "run it with sudo or doas")
    if platform.system() == "Linux":
        mounted = Path("/proc/self/mountinfo").exists()
        yield Finding("/proc", "ok", "mounted") if mounted else Finding("/proc", "bad", "not mounted", "mount /proc")
    # No clock is right that is before the moment at which this file was installed.
    installed = Path(__file__).stat().st_mtime
    shown = local_time(datetime.now(UTC).isoformat())
    if time.time() + 60 < installed:
        yield Finding("clock", "bad", f"{shown}: earlier than rootswap was installed", "set the clock (chrony, ntpd)")
    else:
        yield Finding("clock", "ok", shown)


# --- what we keep -----------------------------------------------------------------------------------------------------


def _state(config: Config) -> Iterator[Finding]:
    for check, path in (("state directory", config.state_directory), ("ledger directory", config.ledger_directory)):
        try:
            found = os.stat(path)
        except FileNotFoundError:
            yield Finding(check, "warning", f"{path} is not there yet", "run `rootswap init`")
            continue
        except OSError as error:
            yield Finding(check, "bad", f"{path}: {error.strerror}", "run it as root")
            continue
        if found.st_uid != 0 or found.st_mode & _OTHERS:
            owner = f"owner {found.st_uid}, mode {found.st_mode & 0o7777:o}"
            yield Finding(check, "bad", f"{path}: {owner}", f"chown root {path}; chmod 700 {path}")
        else:
            yield Finding(check, "ok", f"{path}, for root alone")


def _ledger(config: Config) -> Iterator[Finding]:
    directory = Path(config.ledger_directory)
    try:
        is_there = (directory / schema.LEDGER_FILE).exists()
        was_used = (Path(config.state_directory) / "jails").is_dir()
    except OSError as error:
        yield Finding("ledger", "bad", f"{directory}: {(error.strerror or str(error)).lower()}", "run it as root")
        return
    if not is_there:
        if was_used:
            remedy = "put its copy back (docs/runbook.md); `rootswap init` would begin a new history"
            yield Finding("ledger", "bad", f"{directory} is empty or gone, though jails were deployed", remedy)
        return
    try:
        with LedgerReader.open(directory) as reader:
            yield from _ledger_opened(reader)
            yield from _jails(config, reader)
    except (RootswapError, OSError) as error:
        shown = error if isinstance(error, RootswapError) else RootswapError(str(error), remedy="run it as root")
        yield _of("ledger", shown)
        return
    space = os.statvfs(directory)
    free = space.f_bavail * space.f_frsize
    if space.f_flag & os.ST_RDONLY:
        yield Finding("ledger's disk", "bad", "mounted read-only", "find out why, and mount it read-write")
    elif free < _LOW_BYTES:
        yield Finding("ledger's disk", "bad", f"{size(free)} free", "make room: nothing may run without the ledger")
    else:
        yield Finding("ledger's disk", "ok", f"{size(free)} free")


def _ledger_opened(reader: LedgerReader) -> Iterator[Finding]:
    last = reader.last_seq()
    guards = "guards in place"
    if last <= _VERIFIED_AT_ONCE:
        report = reader.verify()
        guards = f"all verified, head {report.head[:12]}"
    else:
        connection = schema.connect_reader(reader.path)
        try:
            schema.check_objects(connection)
        finally:
            connection.close()
    yield Finding("ledger", "ok", f"{last} records, {guards}")
    found = next(reader.records(newest_first=True, limit=1), None)
    if found is not None and found.at > f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z":
        remedy = "find out whether the clock is right now or was wrong then; the order of records does not depend on it"
        yield Finding("clock", "warning", f"the last record is from the future: {local_time(found.at)}", remedy)
    opened = reader.transactions(open_only=True)
    for row in opened:
        stuck = row.state is State.STUCK
        remedy = for_open(row.transaction, is_stuck=stuck, engine=engine_named(reader))
        detail = f"{row.transaction} of {row.target} is {'stuck' if stuck else 'open'}"
        yield Finding("transactions", "bad" if stuck else "warning", detail, remedy)
    if not opened:
        yield Finding("transactions", "ok", "none is open")


def _jails(config: Config, reader: LedgerReader) -> Iterator[Finding]:
    """Every deployed jail, held against what the ledger says of it."""
    from commands.cli.live import drivers_if_root, look_at_jails

    drivers = drivers_if_root(config)
    if drivers is None:
        return
    busy = {row.target for row in reader.transactions(open_only=True)}
    for name, live in look_at_jails(drivers, reader.settled_targets()).items():
        if live.mismatch:
            remedy = OPEN_ON_IT if f"jail:{name}" in busy else live.remedy or "rootswap status"
            yield Finding(f"jail {name}", "bad", live.mismatch, remedy)
        else:
            yield Finding(f"jail {name}", "ok", f"{live.state}, on its release")


def _durability() -> Iterator[Finding]:
    """Open a scratch file as the writer opens its ledger, and ask SQLite what it makes of the settings."""
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory, "scratch.db")
        scratch.touch()
        connection = schema.connect(scratch)
        try:
            schema.prepare_writer(connection)
            level = connection.execute("PRAGMA synchronous").fetchone()[0]
            sqlite = connection.execute("SELECT sqlite_version()").fetchone()[0]
        finally:
            connection.close()
    if level == _EXTRA:
        yield Finding("sqlite", "ok", f"{sqlite}, synchronous=EXTRA, write-ahead log")
    else:
        remedy = "run rootswap with a Python whose SQLite is not built to ignore it"
        yield Finding("sqlite", "bad", f"{sqlite} keeps synchronous={level} where {_EXTRA} is wanted", remedy)

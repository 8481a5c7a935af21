"""The command line: ``rootswap``. Every way out of it is an exit code and, at worst, one sentence with a remedy.

``run`` is the console script. The contract of the exit codes stands in ``app``; an error carries its own.
"""

import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

from commands.cli.output import FULL, Format, lost, note, show_error, silence
from commands.errors import NotRoot, OutputLost, UsageError
from ledger.errors import RootswapError

USAGE = 2
SOFTWARE = 70
INTERRUPTED = 130


def run() -> NoReturn:
    """The console script. What is printed is flushed and all files are closed when ``main`` returns, so the process
    ends there: to take the interpreter apart as well would be a third of the time of ``status``.
    """
    os._exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Never raises, and prints no traceback unless asked to."""
    # Start-up makes a great many objects that stay: looking through them for garbage is a fifth of the time of
    # ``status``. What works for longer (``at_work``) turns the collector on again.
    gc.disable()
    # A root tool must not load whatever plugins happen to be installed; and looking for them takes time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    words = [*(sys.argv[1:] if argv is None else argv)]
    for number, word in enumerate(words):
        if word == "--":
            break
        if word == "--json":
            words[number] = "--output=json"
    try:
        if not all(map(_is_text, words)):
            show_error(format_of(words), "usage", "cannot read the command line: it is not UTF-8", "write it in UTF-8")
            return USAGE
        return _run(words, format_of(words))
    finally:
        for file in (sys.stdout, sys.stderr):
            _flush(file)


def format_of(words: Sequence[str]) -> Format:
    """The output format that ``words`` ask for, read without the parser: usage errors are printed in it as well."""
    found = Format.TABLE.value
    for number, word in enumerate(words):
        if word == "--":
            break
        if word in ("-o", "--output"):
            found = words[number + 1] if number + 1 < len(words) else found
        elif word.startswith("--output="):
            found = word.removeprefix("--output=")
        elif word.startswith("-o") and not word.startswith("--"):
            found = word.removeprefix("-o").removeprefix("=")
    return Format(found) if found in set(Format) else Format.TABLE


def _run(words: Sequence[str], format: Format) -> int:
    import typer

    try:
        from commands.cli.app import tree

        # A word of help for the one who gives no words at all.
        result = tree(words)(args=words or ["--help"], prog_name="rootswap", standalone_mode=False)
    except RootswapError as error:
        return _fail(format, error)
    except typer.TyperException as error:
        path = getattr(getattr(error, "ctx", None), "command_path", "rootswap")
        show_error(format, "usage", _sentence(error.format_message()), f"see `{path} --help`")
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        show_error(format, "interrupted", "interrupted before anything was done", "")
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as error:
        return _fail_outside(format, error)
    except Exception as error:  # noqa: BLE001 a person gets a sentence, never a traceback
        return _report_bug(format, error)
    return result if isinstance(result, int) else 0


def _fail_outside(format: Format, error: OSError) -> int:
    """An error of the system that nobody has met before it came here."""
    # What the parser prints by itself (help, version) has not come through ``output``.
    if error.errno in FULL and error.filename is None:
        return _fail(format, lost(error))
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        where = f"use {error.filename}" if error.filename else "go on"
        return _fail(format, NotRoot(f"cannot {where}: permission denied", remedy="run it as root"))
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        remedy = "change to a directory that is there, or name every file by its whole path"
        return _fail(format, UsageError("cannot go on: the working directory is gone", remedy=remedy))
    return _report_bug(format, error)


def _has_working_directory() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _fail(format: Format, error: RootswapError) -> int:
    where = Format.TABLE if isinstance(error, OutputLost) else format  # on stderr: there is no room on stdout
    show_error(where, error.code, error.message, error.remedy, error.details)
    return error.exit_code


def _is_text(word: str) -> bool:
    """Whether a word can be stored: bytes that are no UTF-8 have come in as surrogates."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sentence(text: str) -> str:
    """A message of the parser in our own style: one line, lower case, no full stop."""
    line = " ".join(text.split()).removesuffix(".")
    return line[:1].lower() + line[1:]


def _report_bug(format: Format, error: Exception) -> int:
    if os.environ.get("ROOTSWAP_DEBUG"):
        import traceback

        note(traceback.format_exc())
    said = " ".join(str(error).split())
    show_error(
        format,
        "bug",
        f"cannot go on: unexpected {type(error).__name__}: {said}; this is a bug",
        "run `rootswap recover`, then report what you did; ROOTSWAP_DEBUG=1 shows where it happened",
    )
    return SOFTWARE


def _flush(file: TextIO | None) -> None:
    """Print what is left; where nobody listens any more, Python must not try again at its exit."""
    if file is None:
        return
    try:
        file.flush()
    except (OSError, ValueError):
        silence(file)

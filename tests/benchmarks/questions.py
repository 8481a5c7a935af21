"""How long the questions of auditors take on a large ledger: in process, and as a command.

A part of ``make bench-ledger``. ``python -m tests.benchmarks.questions DIRECTORY`` asks a state directory whose ledger
was made with ``tests.ledger.bulk``; the projections are built first, if they are not there. In process, a question
starts with an open ledger and ends with its rows; a command starts with its process. The floors are what we allow
ourselves: 50 and 400 ms.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ledger.reader import LedgerReader
from projections.asof import place_of, standings_at
from projections.metrics import LedgerState, metrics
from projections.queries import story
from projections.questions import BY_NAME, Connection, Scope, ask, downtimes, people
from projections.records import LogScope, log
from projections.shelf import open_tables
from tests.benchmarks.table import Figure, print_table

ROOTSWAP = str(Path(sys.executable).parent / "rootswap")
IN_PROCESS_MS, AS_COMMAND_MS = 50.0, 400.0
#: A list shows so many, unless it is asked for more.
_SHOWN = Scope(limit=1001)


def measure_questions(state: Path, rounds: int = 5) -> list[Figure]:
    """Each question, both ways, on the ledger under ``state``: the best of so many rounds."""
    with LedgerReader.open(state / "ledger") as reader, open_tables(reader) as tables:
        (middle,) = reader.plain_records(after=reader.last_seq() // 2, limit=1)
        moment = middle.at
        (changes,) = tables.execute("SELECT count(*) FROM changes").fetchone()
        halfway = "SELECT transaction_id FROM changes ORDER BY begun_seq LIMIT 1 OFFSET ?"
        name = tables.execute(halfway, (changes // 2,)).fetchone()[0]
        (late,) = reader.plain_records(after=reader.last_seq() - 12_000, limit=1)
        questions = {**_questions(reader, moment), "show": lambda _tables: story(reader, name)}
        figures = [_in_process(what, partial(run, tables), rounds) for what, run in questions.items()]
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "rootswap.toml")
        config.write_text(f'state_directory = "{state}"\n')
        some = ["audit", "population", "--since", late.at]  # about a thousand
        proved = ["audit", "evidence", name, "--output", f"{scratch}/evidence.zip"]
        return figures + [_as_command(words, config, rounds) for words in [*_commands(moment, name), some, proved]]


def _questions(reader: LedgerReader, moment: str) -> dict[str, Callable[[Connection], object]]:
    lists = [each for each in BY_NAME if each not in ("who", "downtime", "population", "all-changes")]
    state = LedgerState(1, 1, None, False, 0)
    return {
        **{each: partial(ask, name=each, scope=_SHOWN) for each in lists},
        "log": lambda tables: log(reader, tables, LogScope(since=moment), 1000),
        "who": lambda tables: people(tables, Scope()),
        "downtime": lambda tables: (downtimes(tables, Scope()), ask(tables, "downtime", _SHOWN)),
        "at": lambda tables: standings_at(tables, place_of(reader, tables, moment)),
        "population of the last 1000": lambda tables: ask(tables, "population", Scope(limit=1000)),
        "metrics": lambda tables: metrics(tables, state),
    }


def _commands(moment: str, name: str) -> list[list[str]]:
    lists = ["log", "who", "failed", "downtime", "rollbacks", "unapproved", "outside-window", "open"]
    return [*(["audit", each] for each in lists), ["audit", "at", moment], ["audit", "show", name], ["metrics"]]


def _in_process(what: str, run: Callable[[], object], rounds: int) -> Figure:
    return Figure(f"{what}, in process", _best(run, rounds), IN_PROCESS_MS, "ms", 1.0)


def _as_command(words: list[str], config: Path, rounds: int) -> Figure:
    argv = [ROOTSWAP, "--config", str(config), *words]
    ask_it = partial(subprocess.run, argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Figure(f"rootswap {' '.join(words)}"[:46], _best(ask_it, rounds), AS_COMMAND_MS, "ms", 1.0)


def _best(run: Callable[[], object], rounds: int) -> float:
    """The best of some rounds, in milliseconds: what it takes when nothing else runs."""
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        spent.append((time.perf_counter() - began) * 1e3)
    return min(spent)


if __name__ == "__main__":
    print_table("questions of auditors", measure_questions(Path(sys.argv[1])))

"""A process that is killed while it appends, and what each append costs the disk."""

import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ledger.errors import LedgerMissing
from ledger.reader import LedgerReader
from tests.ledger.fakes import create, reopen

APPENDER = textwrap.dedent(
    """
    import sys
    from itertools import count
    from pathlib import Path
    from ledger.clock import SystemClock
    from ledger.writer import LedgerWriter
    from tests.ledger.fakes import ORIGIN, whole_upgrade

    run = int(sys.argv[2])
    with LedgerWriter.open(Path(sys.argv[1]), ORIGIN, SystemClock()) as writer:
        for number in count():
            transaction = f"{run:04}{number:04}"
            events = whole_upgrade(f"jail:w{run}")
            for pair in (events[:2], events[2:4], events[4:]):
                for record in writer.append(transaction, *pair):
                    print(record.seq, record.event_id, flush=True)
    """
)

CREATOR = textwrap.dedent(
    """
    import sys
    from itertools import count
    from pathlib import Path
    from tests.ledger.fakes import create

    for number in count():
        create(Path(sys.argv[1]) / str(number)).close()
        print(number, flush=True)
    """
)


def killed(script: str, *arguments: str, lines: int, delay_s: float) -> list[str]:
    """Run ``script`` until it has printed ``lines`` and a little longer, kill it, and return all it printed."""
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(lines)]
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        printed += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return [line for line in printed if line.endswith("\n")]


def test_every_acknowledged_event_survives_twenty_kills(tmp_path: Path) -> None:
    create(tmp_path).close()
    dice = random.Random(20100926)
    acknowledged: dict[int, str] = {}
    for run in range(20):
        lines = killed(APPENDER, str(tmp_path), str(run), lines=dice.randint(1, 60), delay_s=dice.uniform(0, 0.005))
        acknowledged |= {int(seq): event_id for seq, event_id in map(str.split, lines)}
        with reopen(tmp_path) as writer, LedgerReader.open(tmp_path) as reader:
            found = {record.seq: record.event_id for record in reader.records()}
            lost = {seq for seq, event_id in acknowledged.items() if found.get(seq) != event_id}
            assert not lost, f"run {run}"
            assert reader.verify().open_transactions == len(writer.open_transactions())
    assert len(acknowledged) > 200


def test_a_kill_while_ledgers_are_created_leaves_whole_ones_or_none(tmp_path: Path) -> None:
    dice = random.Random(2)
    for run in range(5):
        directory = tmp_path / str(run)
        directory.mkdir()
        lines = killed(CREATOR, str(directory), lines=dice.randint(1, 5), delay_s=dice.uniform(0, 0.02))
        last = len(lines)
        for number in range(last):
            reopen(directory / str(number)).close()
        with suppress(LedgerMissing):
            reopen(directory / str(last)).close()
        with create(directory / str(last)), LedgerReader.open(directory / str(last)) as reader:
            assert reader.verify().records == 1


TRACED = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from tests.ledger.fakes import begun, create, started, succeeded

    with create(Path(sys.argv[1])) as writer:
        writer.append("aaaa0000", begun("jail:web0"))  # the first one after opening also writes the log's header
        for number in range(1, 21):
            os.write(1, b"append\\n")
            writer.append(f"aaaa00{number:02}", begun(f"jail:web{number}"), started(1), succeeded(1), started(2))
        os.write(1, b"done\\n")
        print(writer.open_transactions())
    """
)


def test_an_append_of_several_events_is_one_commit_and_one_sync(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    script = [sys.executable, "-c", TRACED, str(tmp_path / "ledger")]
    command = ["strace", "-f", "-o", str(trace), "-e", "trace=fsync,fdatasync,write", *script]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to trace")
    appends = trace.read_text().split('"append\\n"')[1:]
    assert len(appends) == 20
    appends[-1] = appends[-1].partition('"done\\n"')[0]
    assert [len(re.findall(r"\bf(?:data)?sync\(", part)) for part in appends] == [1] * 20
    with LedgerReader.open(tmp_path / "ledger") as reader:
        assert reader.verify().records == 1 + 1 + 20 * 4

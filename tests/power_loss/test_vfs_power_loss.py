"""The same on another SQLite, the newest: the real writer runs on apsw, and SQLite's own file layer is recorded."""

from pathlib import Path

import pytest

from ledger.writer import LedgerWriter
from tests.ledger.fakes import ORIGIN, CountedIds, FakeClock, create
from tests.power_loss.programs import LEDGER, Telling, work
from tests.power_loss.sweep import Tally
from tests.power_loss.test_ledger_power_loss import judge_all
from tests.power_loss.trace import Mark

pytestmark = pytest.mark.sweep

apsw = pytest.importorskip("apsw")


def test_no_power_cut_loses_or_breaks_anything_on_the_newest_sqlite(fast_directory: Path, tally: Tally) -> None:
    from tests.power_loss import vfs

    create(fast_directory / "existing" / LEDGER).close()
    with vfs.recording(fast_directory / "existing", fast_directory / "root") as recorder:

        def tell(kind: str, content: dict[str, object]) -> None:
            recorder.ops.append(Mark(kind, content))

        for number in (1, 2):
            writer = LedgerWriter.open(
                fast_directory / "root" / LEDGER,
                ORIGIN,
                FakeClock(),
                new_id=CountedIds(number * 1000),
                connect=vfs.connect,
            )
            work(Telling(writer, tell), number, 6)
            writer.close()
    report = judge_all("apsw", recorder.ops, rounds=1)
    tally("the ledger on another SQLite, recorded at its file layer", f"SQLite {apsw.sqlite_lib_version()}", report)
    report.require_sound()

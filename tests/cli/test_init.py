"""``rootswap init`` where there was a ledger before."""

from pathlib import Path

from commands.config import load
from tests.cli.bench import Bench


def test_a_ledger_that_is_lost_is_not_begun_anew_without_a_reason(bench: Bench) -> None:
    keys = Path(load(str(bench.config)).config.keys_directory)
    keys.mkdir(parents=True)
    (keys / "0123.signed").write_text("")
    printed = bench.run("init")
    assert (printed.code, "its keys are not" in printed.err, "put its copy back" in printed.err) == (1, True, True)
    assert bench.run("status").code == 78
    assert bench.run("init", "--reason", "the disk died").code == 0
    assert bench.run("init").code == 0

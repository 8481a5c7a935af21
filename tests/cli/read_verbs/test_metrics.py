"""``metrics``: what node_exporter reads, checked by Prometheus' own tool."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from commands.cli import main
from projections.metrics import BUCKETS
from tests.cli.read_verbs.stories import Run, get_stuck, upgrade
from tests.ledger.attacks import tamper
from tests.proof.site import filled
from tests.site import Site

PROMTOOL = shutil.which("promtool")


def samples(text: str) -> dict[str, float]:
    """Every sample by its name and labels; nothing else may be there but comments."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r'([a-z_]+(?:\{(?:[a-z]+="[^"\\\n]*",?)+\})?) ([0-9.e+-]+)', line)
            assert match, line
            assert match[1] not in found
            found[match[1]] = float(match[2])
    return found


def test_outcomes_downtimes_and_the_tail_are_counted(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    code, out, _ = run("metrics")
    found = samples(out)
    assert code == 0
    assert found['rootswap_transactions_total{outcome="committed"}'] == 5
    assert found["rootswap_ledger_unsealed_records"] == found["rootswap_ledger_records"] > 0
    buckets = [found[f'rootswap_downtime_seconds_bucket{{target="jail:web",le="{bound:g}"}}'] for bound in BUCKETS]
    assert buckets == sorted(buckets)
    assert found['rootswap_downtime_seconds_bucket{target="jail:web",le="+Inf"}'] == 1
    assert found['rootswap_downtime_seconds_count{target="jail:web"}'] == 1
    assert "rootswap_last_verify_success" not in found, "it was never verified"


def test_what_is_stuck_is_seen(site: Site, run: Run) -> None:
    get_stuck(site)
    assert samples(run("metrics")[1])['rootswap_open_transactions{state="stuck"}'] == 1


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
def test_the_tool_of_prometheus_finds_nothing_to_complain_about(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    text = run("metrics")[1]
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    broken = text.replace("# TYPE rootswap_ledger_records gauge", "# TYPE rootswap_ledger_records counter")
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=broken, capture_output=True, text=True, check=False)
    assert done.returncode != 0, "it would have complained"


def test_the_file_is_replaced_at_once_and_readable_by_all(site: Site, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rootswap.prom"
    file.write_text("old")
    with file.open() as reading:
        assert run("metrics", "--output", str(file))[0] == 0
        assert reading.read() == "old", "who has it open reads the old one to its end"
    assert file.read_text() == run("metrics")[1]
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir() if "prom" in path.name] == ["rootswap.prom"]


def test_the_last_verification_is_remembered_also_if_it_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = filled(tmp_path / "signed", tail=2)
    config = signed.base / "rootswap.toml"
    config.write_text(f'state_directory = "{signed.base}"\n')

    def command(*words: str) -> tuple[int, str]:
        return main(["--config", str(config), *words]), capsys.readouterr().out

    assert command("audit", "verify")[0] == 0
    found = samples(command("metrics")[1])
    assert (found["rootswap_last_verify_success"], found["rootswap_last_verify_records"]) == (1, 16)
    assert found["rootswap_ledger_unsealed_records"] == 2
    first = found["rootswap_last_verify_timestamp_seconds"]
    tamper(signed.ledger, "UPDATE events SET record = CAST(replace(record, 'paul', 'eve!') AS BLOB) WHERE seq = 9")
    assert command("audit", "verify")[0] == 4
    found = samples(command("metrics")[1])
    assert found["rootswap_last_verify_success"] == 0
    assert found["rootswap_last_verify_timestamp_seconds"] > first

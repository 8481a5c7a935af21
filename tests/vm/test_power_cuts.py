"""The power of a machine is cut during upgrades and rollbacks; `make power-cuts` does it as often as one likes."""

import os
import random
from pathlib import Path

import pytest

from tests.vm.cuts import Cut, Rig
from tests.vm.saved import Saved
from tests.vm.site import BACKENDS

SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(1_000_000))
CUTS = int(os.environ.get("N", "1"))
#: By then a broken build has to be caught. The unsynced one is at the first cut or two; the late one needs a cut in
#: the short time between an effect and its record.
PATIENCE = {"unsynced": 10, "late": 25}


@pytest.mark.parametrize("driver", BACKENDS)
def test_after_a_power_cut_the_machine_recovers_by_itself_and_nothing_acknowledged_is_lost(
    driver: str, settled: Saved, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    print(f"seed {SEED}")
    disks = settled.disks(driver, tmp_path_factory.mktemp("disks"))
    with Rig(tmp_path, BACKENDS[driver], disks, random.Random(f"{SEED} {driver}"), "sound") as rig:
        for number in range(1, CUTS + 1):
            cut = rig.cut(number)
            print(cut.line())
            assert cut.faults == (), f"seed {SEED}: {cut.line()}"
            assert cut.end in ("committed", "rolled-back")


@pytest.mark.parametrize("driver", ["btrfs"])
def test_a_ledger_that_does_not_sync_is_caught(
    driver: str, settled: Saved, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    disks = settled.disks(driver, tmp_path_factory.mktemp("disks"))
    caught = _first_caught("unsynced", disks, tmp_path)
    assert any("acknowledged, but gone" in fault or "ends at" in fault for fault in caught.faults), caught.line()


def _first_caught(build: str, disks: Path, directory: Path) -> Cut:
    with Rig(directory, BACKENDS["btrfs"], disks, random.Random(f"{SEED} {build}"), build) as rig:
        for number in range(1, PATIENCE[build] + 1):
            cut = rig.cut(number)
            print(cut.line())
            if cut.faults:
                return cut
    raise AssertionError(f"seed {SEED}: {PATIENCE[build]} power cuts have not caught the {build} build")

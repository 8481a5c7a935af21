"""The guest that the tests share: booted and settled once, and then put back to where it was for each of them."""

import os
import shutil
from collections.abc import Iterator

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.vm.machine import Machine
from tests.vm.saved import READY, Saved, saved

#: `make test` leaves this tier out: it takes minutes, and the first time half an hour.
collect_ignore_glob = [] if os.environ.get("ROOTSWAP_VM") else ["test_*.py"]


class Halves(LoadScopeScheduling):  # type: ignore[misc]
    """The tests in two halves that take about as long, for two guests. All that needs a jail on one storage is in one
    of them, for it is settled there once."""

    def _split_scope(self, nodeid: str) -> str:
        is_contract, driver = "test_contracts" in nodeid, nodeid.partition("[")[2].rstrip("]")
        return "one" if (is_contract, driver) in ((True, "lvm"), (False, "zfs")) else "other"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Halves:
    return Halves(config, log)


@pytest.fixture(scope="session")
def _root_and_tools() -> None:
    if os.geteuid() != 0:
        pytest.skip("cannot run the virtual machine tier: not root; mmdebstrap and chroot need it")
    missing = [tool for tool in ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"cannot run the virtual machine tier: no {', '.join(missing)}; start it with `make test-vm`")


@pytest.fixture(scope="session")
def _saved(_root_and_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    with saved(tmp_path_factory.mktemp("vm")) as machine:
        yield machine


@pytest.fixture
def machine(_saved: Saved) -> Iterator[Machine]:
    """A freshly booted guest with rootswap, an empty disk called pool, and nothing else."""
    _saved.machine.resume(READY)
    yield _saved.machine
    _saved.machine.cut()


@pytest.fixture
def settled(_saved: Saved) -> Iterator[Saved]:
    """The same guest in states of its own, with a jail; the power is off, before and afterwards."""
    yield _saved
    _saved.machine.cut()

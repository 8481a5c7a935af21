"""Each driver is killed before and after each of its effects: what is left is never FOREIGN and can be undone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commands.drivers.base import Presence, Storage, Volume
from tests.contracts.real import Death, DirectoryPool, Pool, directory_pool, real_pool

pytestmark = pytest.mark.real

HEAD, NEXT, TX, TRASH = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"
RELEASE, OTHER = f"debian@{TX}", f"debian@{TRASH}"
LOG = Volume(name="log", path="/var/log")
BOTH = ["log", "home"]

Act = Callable[[Storage], None]
Probe = Callable[[Storage], Presence]


@pytest.fixture(params=["btrfs", "directory"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pool[Any]]:
    """A fresh pool of each driver."""
    with real_pool(tmp_path) if request.param == "btrfs" else directory_pool(tmp_path) as pool:
        yield pool


def build(storage: Storage) -> None:
    if storage.template_presence("debian", NEXT) is Presence.PRESENT:
        return
    storage.begin_template("debian", NEXT, HEAD)
    storage.finish_template("debian", NEXT)


CHANGES: dict[str, tuple[Act, Act, Probe]] = {
    "build a template": (
        build,
        lambda storage: storage.destroy_template("debian", NEXT),
        lambda storage: storage.template_presence("debian", NEXT),
    ),
    "take a release": (
        lambda storage: storage.take_release(OTHER, HEAD),
        lambda storage: storage.destroy_release(OTHER),
        lambda storage: storage.release_presence(OTHER),
    ),
    "retire a release": (
        lambda storage: storage.retire_release(RELEASE, TRASH),
        lambda storage: storage.restore_release(RELEASE, TRASH),
        lambda storage: storage.retired_presence(RELEASE, TRASH),
    ),
    "create a volume": (
        lambda storage: storage.create_volume("web", LOG, RELEASE),
        lambda storage: storage.destroy_volume("web", "log"),
        lambda storage: storage.volume_presence("web", "log"),
    ),
    "snapshot volumes": (
        lambda storage: storage.snapshot_volumes("mail", BOTH, TX),
        lambda storage: storage.set_snapshot_aside("mail", BOTH, TX),
        lambda storage: storage.snapshot_presence("mail", BOTH, TX),
    ),
}


def furnish(pool: Pool[Any]) -> None:
    pool.build("debian", HEAD, files=["var/log/app/log", "home/user/file"])
    pool.storage.take_release(RELEASE, HEAD)
    pool.storage.create_volume("mail", LOG, RELEASE)
    pool.storage.create_volume("mail", Volume(name="home", path="/home"), RELEASE)


def die_everywhere(pool: Pool[Any], act: Act, reset: Act, check: Callable[[str], None]) -> int:
    """Die before and after each effect of ``act``, then ``check``, then ``reset``; how many points there were."""
    points = 0
    for when in ("die_before", "die_after"):
        for number in range(1, 200):
            storage, host = pool.mortal(**{when: number})
            try:
                act(storage)
            except Death:
                check(f"{when} {number}")
                points += 1
                reset(pool.storage)
                continue
            assert host.effects == number - 1, "an effect was not made through the door"
            reset(pool.storage)
            break
    return points


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_killed_anywhere_can_be_undone_and_done_again(pool: Pool[Any], name: str) -> None:
    run, undo, probe = CHANGES[name]
    furnish(pool)

    def check(point: str) -> None:
        found = probe(pool.storage)
        assert found is not Presence.FOREIGN, point
        if found is Presence.PARTIAL:
            undo(pool.storage)
        run(pool.storage)
        assert probe(pool.storage) is Presence.PRESENT, point

    def reset(storage: Storage) -> None:
        undo(storage)
        assert probe(storage) is Presence.ABSENT
        unwound = Path(pool.spec.path) / "rootswap/snapshots/mail" / f"{TX}+unwound"
        if unwound.exists():
            unwound.rename(unwound.with_name(f"x{len(list(unwound.parent.iterdir()))}"))

    assert die_everywhere(pool, run, reset, check) >= 4


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "snapshot volumes"])
def test_an_undo_that_is_killed_anywhere_can_be_repeated(pool: Pool[Any], name: str) -> None:
    run, undo, probe = CHANGES[name]
    furnish(pool)
    run(pool.storage)

    def check(point: str) -> None:
        assert probe(pool.storage) is not Presence.FOREIGN, point
        undo(pool.storage)
        assert probe(pool.storage) is Presence.ABSENT, point

    assert die_everywhere(pool, undo, run, check) >= 4


def test_a_pool_whose_creation_is_killed_anywhere_can_be_removed_or_finished(tmp_path: Path) -> None:
    with real_pool(tmp_path, create=False) as pool:

        def check(point: str) -> None:
            assert pool.storage.pool_presence(pool.spec) is not Presence.FOREIGN, point
            if "after" in point:
                pool.storage.create_pool(pool.spec)
                assert pool.storage.pool_presence(pool.spec) is Presence.PRESENT, point
            assert len(pool.loops()) <= 1, point

        def reset(storage: Storage) -> None:
            storage.destroy_pool(pool.spec)
            assert storage.pool_presence(pool.spec) is Presence.ABSENT
            assert [path.name for path in tmp_path.iterdir() if path.name != "pool"] == []
            assert pool.loops() == []

        assert die_everywhere(pool, lambda storage: storage.create_pool(pool.spec), reset, check) >= 20


def test_a_pool_whose_removal_is_killed_anywhere_can_be_removed(tmp_path: Path) -> None:
    with real_pool(tmp_path) as pool:

        def check(point: str) -> None:
            assert pool.storage.pool_presence(pool.spec) is not Presence.FOREIGN, point
            pool.storage.destroy_pool(pool.spec)
            assert pool.storage.pool_presence(pool.spec) is Presence.ABSENT, point

        def reset(storage: Storage) -> None:
            storage.create_pool(pool.spec)

        assert die_everywhere(pool, lambda storage: storage.destroy_pool(pool.spec), reset, check) >= 15


@pytest.mark.parametrize("verb", ["create", "remove"])
def test_a_pool_of_directories_may_be_killed_anywhere_while_it_is_laid_out_or_removed(
    tmp_path: Path, verb: str
) -> None:
    pool = DirectoryPool(tmp_path)
    create: Act = lambda storage: storage.create_pool(pool.spec)  # noqa: E731
    remove: Act = lambda storage: storage.destroy_pool(pool.spec)  # noqa: E731
    act, back = (create, remove) if verb == "create" else (remove, create)
    end = Presence.PRESENT if verb == "create" else Presence.ABSENT
    if verb == "remove":
        create(pool.storage)

    def check(point: str) -> None:
        assert pool.storage.pool_presence(pool.spec) is not Presence.FOREIGN, point
        act(pool.storage)
        assert pool.storage.pool_presence(pool.spec) is end, point

    assert die_everywhere(pool, act, back, check) >= 15
    assert pool.storage.pool_presence(pool.spec) is not end

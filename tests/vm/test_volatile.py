"""The disk that forgets: a test with a disk that keeps everything would prove nothing."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.volatile import BLOCK, VolatileDisk

BLOCKS = 64


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[VolatileDisk]:
    path = tmp_path / "disk"
    path.write_bytes(bytes(BLOCKS * BLOCK))
    disk = VolatileDisk(path, tmp_path / "nbd")
    yield disk
    disk.close()


def use(disk: VolatileDisk, *commands: str) -> None:
    """QEMU's own client, which then dies without a word."""
    words = [word for command in (*commands, "abort") for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-t", "writeback", "-f", "raw", *words, disk.url], check=False, capture_output=True
    )
    assert done.returncode < 0, done


def content(disk: VolatileDisk) -> list[int]:
    """What each block is full of."""
    data = disk.path.read_bytes()
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    assert all(len(set(block)) == 1 for block in blocks), "a torn block"
    return [block[0] for block in blocks]


def test_what_was_flushed_stays_and_any_part_of_the_rest_is_lost(disk: VolatileDisk) -> None:
    seen = set()
    for seed in range(20):
        size = f"{BLOCKS * BLOCK}"
        use(disk, f"write -P 1 0 {size}", "flush", f"write -P 2 0 {size}")
        lost, unflushed = disk.lose_power(random.Random(seed))
        found = content(disk)
        assert unflushed == BLOCKS
        assert found.count(1) == lost
        assert set(found) <= {1, 2}
        seen.add("all" if lost == BLOCKS else "some" if lost else "none")
    assert seen == {"all", "some", "none"}


def test_a_write_that_goes_through_the_cache_stays(disk: VolatileDisk) -> None:
    use(disk, "write -P 1 0 8192", "write -f -P 2 4096 4096", "write -P 3 8192 4096")
    nothing = next(seed for seed in range(100) if random.Random(seed).choice((0.0, 0.5, 0.9, 1.0)) == 0.0)
    assert disk.lose_power(random.Random(nothing)) == (2, 2)
    assert content(disk)[:3] == [0, 2, 0]


def test_the_last_of_two_writes_to_a_block_wins_or_the_first_or_neither(disk: VolatileDisk) -> None:
    ends = set()
    for seed in range(40):
        use(disk, f"write -P 9 0 {BLOCK}", "flush", f"write -P 1 0 {BLOCK}", f"write -P 2 0 {BLOCK}")
        disk.lose_power(random.Random(seed))
        ends.add(content(disk)[0])
    assert ends == {9, 1, 2}


def test_a_disk_that_writes_through_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4 * BLOCK))
    disk = VolatileDisk(path, tmp_path / "nbd", write_through=True)
    try:
        use(disk, f"write -P 1 0 {BLOCK}", f"write -P 2 {BLOCK} {BLOCK}")
        assert disk.lose_power(random.Random(1)) == (0, 0)
        assert content(disk)[:2] == [1, 2]
    finally:
        disk.close()

"""Mount the storage pool after a reboot."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, PoolSpec, Presence
from commands.steps.step import Phase, Step
from ledger.facts import PoolMounted


class MountPool(Step):
    """Mount the image of the pool where it belongs."""

    kind: Literal["mount_pool"] = "mount_pool"
    phase: ClassVar[Phase] = Phase.PREPARE
    volatile: ClassVar[bool] = True
    pool: PoolSpec

    def probe(self, on: Drivers) -> Presence:
        """Whether the pool is mounted."""
        return on.storage.pool_mounted(self.pool)

    def run(self, on: Drivers) -> None:
        """Mount the pool."""
        on.storage.mount_pool(self.pool)

    def undo(self, on: Drivers) -> None:
        """Unmount the pool."""
        on.storage.unmount_pool(self.pool)

    def fact(self, on: Drivers) -> PoolMounted:
        """Where the pool is mounted."""
        return PoolMounted(before=None, after=self.pool.path, path=self.pool.path)

    def forward_words(self) -> str:
        """One line for people."""
        return f"mount the pool at {self.pool.path}"

    def undo_words(self) -> str:
        """One line for people."""
        return "unmount the pool"

"""Lay out the storage pool."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, PoolSpec, Presence
from commands.steps.step import Phase, Step
from ledger.facts import PoolCreated


class CreatePool(Step):
    """Make the pool's image where asked, mount it, and lay out the marked directories."""

    kind: Literal["create_pool"] = "create_pool"
    phase: ClassVar[Phase] = Phase.PREPARE
    pool: PoolSpec

    def probe(self, on: Drivers) -> Presence:
        """Whether the pool is laid out, mounted and ours."""
        return on.storage.pool_presence(self.pool)

    def run(self, on: Drivers) -> None:
        """Create what is missing."""
        on.storage.create_pool(self.pool)

    def undo(self, on: Drivers) -> None:
        """Remove an empty pool."""
        on.storage.destroy_pool(self.pool)

    def fact(self, on: Drivers) -> PoolCreated:
        """Where the pool is."""
        return PoolCreated(
            before=None,
            after=self.pool.path,
            path=self.pool.path,
            image=self.pool.image,
            size_bytes=self.pool.size_bytes,
        )

    def forward_words(self) -> str:
        """One line for people."""
        where = f" in the image {self.pool.image}" if self.pool.image else ""
        where = f" in the data set {self.pool.dataset}" if self.pool.dataset else where
        return f"create the {self.pool.driver} pool at {self.pool.path}{where}"

    def undo_words(self) -> str:
        """One line for people."""
        return "remove the pool again, as long as it is empty"

"""The pool as configured. Apart from the planners, so that whoever only looks at it does not load every step."""

from commands.config import Config
from commands.drivers.base import PoolSpec


def pool_spec(config: Config) -> PoolSpec:
    """The pool as configured."""
    storage = config.storage
    size = storage.size if storage.image else None
    return PoolSpec(
        driver=storage.driver,
        path=storage.path,
        image=storage.image,
        size_bytes=size,
        dataset=storage.dataset,
        thin_pool=storage.thin_pool,
    )

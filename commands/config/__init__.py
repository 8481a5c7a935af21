"""The configuration: its shapes, and the loader that reads, merges and checks it."""

from commands.config.load import Loaded, Mistake, Reading, load, read
from commands.config.shapes import (
    Config,
    HealthConfig,
    JailConfig,
    NetworkConfig,
    Section,
    StorageConfig,
    TemplateConfig,
)

__all__ = [
    "Config",
    "HealthConfig",
    "JailConfig",
    "Loaded",
    "Mistake",
    "NetworkConfig",
    "Reading",
    "Section",
    "StorageConfig",
    "TemplateConfig",
    "load",
    "read",
]

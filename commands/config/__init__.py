"""The configuration: its shapes, and the loader that reads, merges and checks it."""

from commands.config.load import Loaded, Mistake, Reading, load, read
from commands.config.shapes import (
    AuditConfig,
    Config,
    HealthConfig,
    JailConfig,
    NetworkConfig,
    Section,
    SinkConfig,
    StorageConfig,
    TemplateConfig,
)

__all__ = [
    "AuditConfig",
    "Config",
    "HealthConfig",
    "JailConfig",
    "Loaded",
    "Mistake",
    "NetworkConfig",
    "Reading",
    "Section",
    "SinkConfig",
    "StorageConfig",
    "TemplateConfig",
    "load",
    "read",
]

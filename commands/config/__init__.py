"""The configuration: its shapes, and the loader that reads, merges and checks it."""

from commands.config.load import Loaded, Mistake, Reading, load, read
from commands.config.shapes import (
    AuditConfig,
    Config,
    FreezeConfig,
    HealthConfig,
    JailConfig,
    JailPolicyConfig,
    NetworkConfig,
    PolicyConfig,
    Section,
    SinkConfig,
    StorageConfig,
    TemplateConfig,
    WindowConfig,
)

__all__ = [
    "AuditConfig",
    "Config",
    "FreezeConfig",
    "HealthConfig",
    "JailConfig",
    "JailPolicyConfig",
    "Loaded",
    "Mistake",
    "NetworkConfig",
    "PolicyConfig",
    "Reading",
    "Section",
    "SinkConfig",
    "StorageConfig",
    "TemplateConfig",
    "WindowConfig",
    "load",
    "read",
]

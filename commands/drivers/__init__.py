"""What the host can do, behind Protocols: storage, jails, mounts, health checks, template builders."""

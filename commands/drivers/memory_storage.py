"""Storage in memory: templates, releases and volumes as entries of a world."""

from collections.abc import Sequence

from commands.drivers.base import DataSnapshot, PoolSpec, Presence, Source, Space, Volume
from commands.drivers.memory_world import BUILDING, FOREIGN, World, presence_of
from commands.errors import DriverError, Foreign
from ledger.names import Name, ReleaseName, TransactionId, template_of


class MemoryStorage:
    """Templates, releases and volumes as entries of the world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def pool_presence(self, pool: PoolSpec) -> Presence:
        """See Storage."""
        laid_out = presence_of(self._world.look(f"pool:{pool.path}"))
        mounted = self.pool_mounted(pool)
        if laid_out is Presence.PRESENT and mounted is not Presence.PRESENT:
            return Presence.FOREIGN if mounted is Presence.FOREIGN else Presence.PARTIAL
        return laid_out

    def create_pool(self, pool: PoolSpec) -> None:
        """See Storage."""
        if self.pool_presence(pool) is not Presence.PRESENT:
            self._world.put(f"pool:{pool.path}", BUILDING)
            self.mount_pool(pool)
            self._world.put(f"pool:{pool.path}", "laid out")

    def destroy_pool(self, pool: PoolSpec) -> None:
        """See Storage."""
        if any(self._world.keys(prefix) for prefix in ("template:", "release:", "volume:")):
            raise DriverError(f"cannot remove the pool at {pool.path}: it is not empty")
        self.unmount_pool(pool)
        self._world.drop(f"pool:{pool.path}")

    def pool_mounted(self, pool: PoolSpec) -> Presence:
        """See Storage."""
        return presence_of(self._world.look(f"mount:{pool.path}"))

    def mount_pool(self, pool: PoolSpec) -> None:
        """See Storage."""
        self._world.put(f"mount:{pool.path}", "pool")

    def unmount_pool(self, pool: PoolSpec) -> None:
        """See Storage."""
        self._world.drop(f"mount:{pool.path}")

    def space(self) -> Space:
        """See Storage."""
        return Space(data_free_bytes=1 << 40, metadata_free_bytes=1 << 30, size_bytes=1 << 41)

    def templates(self) -> tuple[tuple[Name, TransactionId], ...]:
        """See Storage."""
        pairs = (key.split(":") for key in self._list("template:"))
        return tuple((template, head) for template, head in pairs)

    def template_presence(self, template: Name, head: TransactionId) -> Presence:
        """See Storage."""
        return presence_of(self._see(f"template:{template}:{head}"))

    def template_path(self, template: Name, head: TransactionId) -> str:
        """See Storage."""
        return f"template:{template}:{head}"

    def begin_template(self, template: Name, head: TransactionId, base: TransactionId | None) -> None:
        """See Storage."""
        if self.template_presence(template, head) is Presence.PRESENT:
            raise DriverError(f"cannot begin head {head} of template {template}: it is finished already")
        if base is not None and self.template_presence(template, base) is not Presence.PRESENT:
            raise DriverError(f"cannot copy template {template}: its head {base} is not there")
        self._world.put(f"template:{template}:{head}", BUILDING)

    def finish_template(self, template: Name, head: TransactionId) -> None:
        """See Storage."""
        self._world.put(f"template:{template}:{head}", f"root {head}")

    def destroy_template(self, template: Name, head: TransactionId) -> None:
        """See Storage."""
        self._world.drop(f"template:{template}:{head}")

    def releases(self) -> tuple[ReleaseName, ...]:
        """See Storage."""
        return tuple(self._list("release:"))

    def release_presence(self, release: ReleaseName) -> Presence:
        """See Storage."""
        return presence_of(self._see(f"release:{release}"))

    def take_release(self, release: ReleaseName, head: TransactionId) -> None:
        """See Storage."""
        content = self._see(f"template:{template_of(release)}:{head}")
        if content is None:
            raise DriverError(f"cannot take release {release}: its template has no head {head}")
        self._world.put(f"release:{release}", content)

    def destroy_release(self, release: ReleaseName) -> None:
        """See Storage."""
        self._world.drop(f"release:{release}")

    def fingerprint(self, release: ReleaseName) -> str:
        """See Storage."""
        return f"memory:{self._see(f'release:{release}')}"

    def retired_presence(self, release: ReleaseName, by: TransactionId) -> Presence:
        """See Storage."""
        retired = presence_of(self._see(f"trash:{by}:{release}"))
        return retired if self.release_presence(release) is Presence.ABSENT else Presence.ABSENT

    def retire_release(self, release: ReleaseName, by: TransactionId) -> None:
        """See Storage."""
        self._rename(f"release:{release}", f"trash:{by}:{release}")

    def restore_release(self, release: ReleaseName, by: TransactionId) -> None:
        """See Storage."""
        self._rename(f"trash:{by}:{release}", f"release:{release}")

    def trash(self) -> tuple[TransactionId, ...]:
        """See Storage."""
        return tuple(sorted({key.partition(":")[0] for key in self._list("trash:")}))

    def empty_trash(self, by: TransactionId) -> None:
        """See Storage."""
        for key in self._list(f"trash:{by}:"):
            self._world.drop(f"trash:{by}:{key}")

    def root_source(self, release: ReleaseName) -> Source:
        """See Storage."""
        return Source("memory", release)

    def volumes(self, jail: Name) -> tuple[Name, ...]:
        """See Storage."""
        return tuple(self._list(f"volume:{jail}:"))

    def volume_presence(self, jail: Name, volume: Name) -> Presence:
        """See Storage."""
        return presence_of(self._see(f"volume:{jail}:{volume}"))

    def volume_path(self, jail: Name, volume: Name) -> str:
        """See Storage."""
        return f"/memory/volumes/{jail}/{volume}"

    def create_volume(self, jail: Name, volume: Volume, release: ReleaseName) -> None:
        """See Storage."""
        if self.volume_presence(jail, volume.name) is not Presence.PRESENT:
            self._world.put(f"volume:{jail}:{volume.name}", BUILDING)
            self._world.put(f"volume:{jail}:{volume.name}", f"data from {release}")

    def destroy_volume(self, jail: Name, volume: Name) -> None:
        """See Storage."""
        self._world.drop(f"volume:{jail}:{volume}")

    def snapshots(self, jail: Name) -> tuple[DataSnapshot, ...]:
        """See Storage."""
        found: dict[str, list[Name]] = {}
        for key in self._list(f"snapshot:{jail}:"):
            label, _, volume = key.partition(":")
            found.setdefault(label, []).append(volume)
        return tuple(
            DataSnapshot(jail, label.removesuffix("+unwound"), tuple(volumes), label.endswith("+unwound"), label)
            for label, volumes in sorted(found.items())
        )

    def snapshot_presence(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> Presence:
        """See Storage."""
        there = [self._see(f"snapshot:{jail}:{snapshot}:{volume}") for volume in volumes]
        if FOREIGN in there:
            return Presence.FOREIGN
        if None not in there:
            return Presence.PRESENT
        return Presence.PARTIAL if any(there) else Presence.ABSENT

    def snapshot_volumes(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """See Storage."""
        for volume in volumes:
            content = self._see(f"volume:{jail}:{volume}")
            if content is None:
                raise DriverError(f"cannot snapshot volume {volume} of {jail}: it is not there")
            self._world.put(f"snapshot:{jail}:{snapshot}:{volume}", content)

    def set_snapshot_aside(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """See Storage. The rename of a complete set is one primitive change, as it is one rename on a real host."""
        presence = self.snapshot_presence(jail, volumes, snapshot)
        if presence is Presence.FOREIGN:
            raise Foreign(f"cannot set snapshot {snapshot} of {jail} aside: it is not ours")
        if presence is not Presence.PRESENT:
            for volume in volumes:
                self._world.drop(f"snapshot:{jail}:{snapshot}:{volume}")
            return
        self._world.gate(f"before renaming snapshot:{jail}:{snapshot}")
        for volume in volumes:
            content = self._world.state.pop(f"snapshot:{jail}:{snapshot}:{volume}")
            self._world.state[f"snapshot:{jail}:{snapshot}+unwound:{volume}"] = content
        self._world.gate(f"after renaming snapshot:{jail}:{snapshot}")

    def _rename(self, old: str, new: str) -> None:
        content, there = self._see(old), self._see(new)
        if content is None:
            if there is None:
                raise DriverError(f"cannot rename {old}: it is not there")
            return
        if FOREIGN in (content, there):
            raise Foreign(f"cannot rename {old}: it is not ours")
        self._world.gate(f"before renaming {old}")
        self._world.state[new] = self._world.state.pop(old)
        self._world.gate(f"after renaming {old}")

    def _see(self, key: str) -> str | None:
        self._require_pool()
        return self._world.look(key)

    def _list(self, prefix: str) -> list[str]:
        self._require_pool()
        return self._world.keys(prefix)

    def _require_pool(self) -> None:
        if "pool" not in self._world.state.values():
            raise DriverError("cannot use the pool: it is not mounted")

"""The volumes of the ZFS driver and the snapshots of their data.

The data of all volumes of a jail is kept by one ``zfs snapshot a@x b@x``, which is atomic, and is the only command that
is run for it while the jail is down. Each snapshot of a set names the whole set; that the set was set aside stands on
the first of it, so that this is one change as well.
"""

from collections.abc import Sequence

from commands.drivers.base import DataSnapshot, Presence, Volume
from commands.drivers.zfs_objects import ZfsObjects
from commands.drivers.zfs_pool import CHANGE_TIMEOUT_S, LOOK_TIMEOUT_S
from commands.drivers.zfs_text import MARKS, STATE, TRANSACTION, UNWOUND, VOLUMES, Seen, cause_of, parsed_get
from commands.errors import DriverError, Foreign
from ledger.names import Name, ReleaseName, TransactionId, is_name

_COPY_TIMEOUT_S = 4 * 3600.0


class ZfsVolumes(ZfsObjects):
    """Volumes as sibling data sets, never part of a root and never re-parented."""

    # Volumes

    def volumes(self, jail: Name) -> tuple[Name, ...]:
        """The volumes of a jail that are there and ours."""
        prefix = f"{self._home}/volumes/{jail}:"
        found = self._look_in(["volumes"], "-d", "1", "-t", "filesystem")
        names = {name.removeprefix(prefix): one for name, one in found.items() if name.startswith(prefix)}
        return tuple(
            sorted(name for name, one in names.items() if is_name(name) and one.own(MARKS) == f"volumes/{jail}/{name}")
        )

    def volume_presence(self, jail: Name, volume: Name) -> Presence:
        """PRESENT once filled, PARTIAL before."""
        name, container = self._volume(jail, volume), f"{self._home}/volumes"
        found = self._look([container, name])
        self._require_there(found, container)
        return self._presence(found.get(name), f"volumes/{jail}/{volume}")

    def volume_path(self, jail: Name, volume: Name) -> str:
        """The directory that is the root of the volume."""
        return self._place(self._volume(jail, volume))

    def create_volume(self, jail: Name, volume: Volume, release: ReleaseName) -> None:
        """Create a volume and fill it with what the release has in that directory, owners and modes as there.

        Raises DriverError, before anything is made, when the release has no such directory, when a symlink leads
        there, or when there are device files in it. A quota is ZFS's ``refquota``: snapshots do not count, so that
        what is kept for a rollback never takes the jail's own room.
        """
        name = self._volume(jail, volume.name)
        presence = self.volume_presence(jail, volume.name)
        if presence is Presence.PRESENT:
            return
        if presence is Presence.FOREIGN:
            raise self._not_ours("create", f"volume {volume.name} of {jail}", name)
        origin = self._origin(jail, volume, release)
        self.destroy_volume(jail, volume.name)
        quota = () if volume.quota_bytes is None else ("-o", f"refquota={volume.quota_bytes}")
        marks = ("-o", f"{MARKS}=volumes/{jail}/{volume.name}", "-o", f"{STATE}=building")
        self._make(name, "create", *marks, *quota)
        # Both cp take DIR/. for what is in it, and give the target DIR's owner and mode.
        self._host.run(["cp", "-a", "--", f"{origin}/.", self._place(name)], timeout_s=_COPY_TIMEOUT_S)
        self._finish(name)

    def _origin(self, jail: Name, volume: Volume, release: ReleaseName) -> str:
        """The directory of the release that a volume is filled with."""
        root = self._place(self._release(release))
        sentence = f"cannot fill volume {volume.name} of {jail} with {volume.path} of {release}"
        remedy = f"make {volume.path} a directory in the template, then upgrade that"
        if self._release_presence(self._inventory(), release) is not Presence.PRESENT:
            raise DriverError(f"{sentence}: the release is not there, or not mounted", remedy="run `rootswap recover`")
        try:
            origin = self._host.resolve_beneath(root, volume.path)
        except DriverError as error:
            raise DriverError(f"{sentence}: {error.message}", remedy=remedy) from error
        found = self._host.stat(origin)
        if found is None or not found.is_directory:
            raise DriverError(f"{sentence}: that is not a directory", remedy=remedy)
        asked = ["find", origin, "-xdev", "(", "-type", "b", "-o", "-type", "c", ")", "-print", "-quit"]
        device = self._host.run(asked).stdout
        if device:
            inside = device.strip().removeprefix(root)
            raise DriverError(f"{sentence}: {inside} is a device file", remedy="remove it from the template")
        return origin

    def destroy_volume(self, jail: Name, volume: Name) -> None:
        """Destroy a volume that is ours and nowhere else mounted, and that has no snapshots."""
        match self.volume_presence(jail, volume):
            case Presence.ABSENT:
                return
            case Presence.FOREIGN:
                raise self._not_ours("destroy", f"volume {volume} of {jail}", self._volume(jail, volume))
            case Presence.PRESENT | Presence.PARTIAL:
                self._dissolve(self._volume(jail, volume))

    # Data snapshots

    def snapshots(self, jail: Name) -> tuple[DataSnapshot, ...]:
        """The data snapshots of a jail, kept or unwound, with what was written to its volumes since each."""
        names = [self._volume(jail, volume) for volume in self.volumes(jail)]
        if not names:
            return ()
        sets: dict[str, list[Seen]] = {}
        for one in self._look(names, "-d", "1", "-t", "snapshot").values():
            transaction = one.name.partition("@")[2]
            if one.own(MARKS) == f"snapshots/{jail}/{transaction}":
                sets.setdefault(transaction, []).append(one)
        written = self._written(names, list(sets))
        return tuple(
            DataSnapshot(
                jail,
                transaction,
                tuple(sorted(self._volume_of(one) for one in found)),
                any(one.own(UNWOUND) for one in found),
                f"{self._pool.path}/volumes/{jail}:*/.zfs/snapshot/{transaction}",
                written.get(transaction, 0),
            )
            for transaction, found in sorted(sets.items())
        )

    def _written(self, volumes: Sequence[str], transactions: Sequence[str]) -> dict[str, int]:
        """The bytes that each data snapshot would take back: what was written to all its volumes since."""
        if not transactions:
            return {}
        asked = ",".join(f"written@{one}" for one in transactions)
        argv = ["zfs", "get", "-Hp", "-o", "name,property,value,source", asked, *volumes]
        found = parsed_get(self._host.run(argv, check=False, timeout_s=LOOK_TIMEOUT_S).stdout)
        return {
            transaction: sum(int(one.value(f"written@{transaction}") or 0) for one in found.values())
            for transaction in transactions
        }

    def snapshot_presence(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> Presence:
        """PRESENT when every volume has its snapshot; ABSENT once the set was set aside."""
        found = self._set(jail, volumes, snapshot)
        if any(one.own(MARKS) != f"snapshots/{jail}/{snapshot}" for one in found):
            return Presence.FOREIGN
        if not found or any(one.own(UNWOUND) for one in found):
            return Presence.ABSENT
        return Presence.PRESENT if len(found) == len(volumes) else Presence.PARTIAL

    def _set(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> list[Seen]:
        """The snapshots of that name, with the one that speaks for the set."""
        container = f"{self._home}/volumes"
        found = self._look([container, *(f"{self._volume(jail, volume)}@{snapshot}" for volume in volumes)])
        self._require_there(found, container)
        del found[container]
        first = self._speaker(jail, snapshot, list(found.values()))
        if first is not None and first not in found:
            said = [one for one in self._look([first]).values() if one.own(UNWOUND)]
            return [*found.values(), *said]
        return list(found.values())

    def _speaker(self, jail: Name, snapshot: TransactionId, found: Sequence[Seen]) -> str | None:
        """The snapshot that says for its whole set whether that was set aside."""
        named = next((volumes for one in found if (volumes := one.own(VOLUMES))), None)
        return None if named is None else f"{self._volume(jail, named.partition(',')[0])}@{snapshot}"

    def snapshot_volumes(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Keep the volumes of a stopped jail as they are at this moment: one command, and no look before it."""
        complaint = self._snapshot(jail, volumes, snapshot)
        if complaint is None:
            return
        match self.snapshot_presence(jail, volumes, snapshot):
            case Presence.PRESENT:
                return
            case Presence.FOREIGN:
                raise self._foreign_set("take", jail, snapshot)
            case Presence.PARTIAL:
                self.set_snapshot_aside(jail, volumes, snapshot)
                complaint = self._snapshot(jail, volumes, snapshot)
            case Presence.ABSENT:
                pass
        if complaint is not None:
            cause, remedy = cause_of(complaint)
            raise DriverError(f"cannot snapshot the volumes of {jail}: {cause}", remedy=remedy)

    def _snapshot(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> str | None:
        """Take all snapshots at once; None, or what zfs complains of."""
        marks = ("-o", f"{MARKS}=snapshots/{jail}/{snapshot}", "-o", f"{TRANSACTION}={snapshot}")
        whole = ("-o", f"{VOLUMES}={','.join(sorted(volumes))}")
        names = [f"{self._volume(jail, volume)}@{snapshot}" for volume in volumes]
        argv = ["zfs", "snapshot", *marks, *whole, *names]
        completed = self._host.run(argv, check=False, timeout_s=CHANGE_TIMEOUT_S)
        return None if completed.status == 0 else completed.stderr

    def set_snapshot_aside(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Undo ``snapshot_volumes``: a complete snapshot is kept, marked unwound; an incomplete one is destroyed."""
        presence = self.snapshot_presence(jail, volumes, snapshot)
        found = self._set(jail, volumes, snapshot)
        match presence:
            case Presence.ABSENT:
                return
            case Presence.FOREIGN:
                raise self._foreign_set("set aside", jail, snapshot)
            case Presence.PRESENT:
                first = self._speaker(jail, snapshot, found) or found[0].name
                self._zfs(f"set snapshot {snapshot} of {jail} aside", "set", f"{UNWOUND}={snapshot}", first)
            case Presence.PARTIAL:
                for one in found:
                    self._refuse_held(one)
                for one in found:
                    self._destroy_snapshot(one)

    def _volume_of(self, one: Seen) -> Name:
        return one.owner.rpartition(":")[2]

    @staticmethod
    def _foreign_set(verb: str, jail: Name, snapshot: TransactionId) -> Foreign:
        remedy = f"look at it with `zfs list -t snapshot` and rename it yourself: the name {snapshot} is taken"
        return Foreign(f"cannot {verb} snapshot {snapshot} of {jail}: what is there is not ours", remedy=remedy)

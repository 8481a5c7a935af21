"""Storage whose templates, releases and volumes are things that are made, finished, moved and destroyed alike.

What a thing is on the disk is the driver's: a subvolume or a directory with a mark beside it, or a logical volume with
tags. Each has a place in the pool beneath ``POOL/rootswap``::

    templates/NAME/HEAD/root        read-write
    releases/NAME@ID/root           immutable
    volumes/JAIL/VOLUME/root        read-write
    snapshots/JAIL/TX/…             immutable; TX+unwound once set aside
    trash/TX/NAME@ID/root           retired releases
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from commands.drivers.base import Host, PoolSpec, Presence, Volume
from commands.drivers.trees import copy_tree
from commands.errors import DriverError, Foreign
from ledger.names import Name, ReleaseName, TransactionId, is_name, is_release, template_of

HOME = "rootswap"
#: What the label of a data snapshot that was set aside ends with.
UNWOUND = "+unwound"


@dataclass(frozen=True, slots=True)
class Thing:
    """Something of ours in the pool: the directory that it is in, and what its mark has to say."""

    place: str
    marks: str

    @property
    def root(self) -> str:
        """The directory with its content."""
        return f"{self.place}/root"

    @property
    def mark(self) -> str:
        """The file that says it is ours, where such files are kept."""
        return f"{self.place}/mark"


class ObjectStorage(ABC):
    """The part of Storage that is about templates, releases and volumes, on what a driver makes of a thing."""

    def __init__(self, host: Host, pool: PoolSpec) -> None:
        self._host = host
        self._pool = pool

    @property
    def _home(self) -> str:
        return f"{self._pool.path}/{HOME}"

    # What each driver has its own way of

    @abstractmethod
    def _laid_out(self) -> str:
        """The home, having made sure that the pool can be used. Raises DriverError."""

    @abstractmethod
    def _names(self, directory: str) -> Sequence[str]:
        """The sorted names in a directory of the pool, ours or not."""

    @abstractmethod
    def _presence(self, thing: Thing) -> Presence:
        """PRESENT once finished, PARTIAL before, FOREIGN without our mark."""

    @abstractmethod
    def _immutable_presence(self, thing: Thing) -> Presence:
        """The presence of what has to be immutable: PARTIAL if it can be written."""

    @abstractmethod
    def _make(self, thing: Thing, size_bytes: int | None = None) -> None:
        """Make an empty thing where nothing is, of a size that it cannot outgrow where the driver has such sizes."""

    @abstractmethod
    def _make_copy(self, thing: Thing, origin: Thing, *, immutable: bool) -> None:
        """Make a thing where nothing is, with the content that ``origin`` has now."""

    @abstractmethod
    def _finish(self, thing: Thing) -> None:
        """Make the content of a thing durable, then say in its mark that it is whole."""

    @abstractmethod
    def _destroy(self, thing: Thing) -> None:
        """Destroy a thing that is ours and nowhere mounted; already gone is success."""

    @abstractmethod
    def _move(self, old: Thing, new: Thing) -> None:
        """Move a thing that is nowhere mounted; moved already is success."""

    def _complete(self, thing: Thing) -> None:  # noqa: B027 most have nothing to do here
        """Last changes to a template before it is finished."""

    @contextmanager
    def _readable(self, thing: Thing, reader: Thing) -> Iterator[str]:
        """The directory with the content of a thing, for as long as the context lasts, for ``reader`` to be made."""
        yield thing.root

    # Things

    def _template(self, template: Name, head: TransactionId) -> Thing:
        return self._thing(f"templates/{template}/{head}")

    def _release(self, release: ReleaseName) -> Thing:
        return self._thing(f"releases/{release}")

    def _volume(self, jail: Name, volume: Name) -> Thing:
        return self._thing(f"volumes/{jail}/{volume}")

    def _retired(self, release: ReleaseName, by: TransactionId) -> Thing:
        """A release in the trash; its mark still says where it came from."""
        return Thing(f"{self._laid_out()}/trash/{by}/{release}", f"releases/{release}")

    def _thing(self, marks: str) -> Thing:
        return Thing(f"{self._laid_out()}/{marks}", marks)

    def _pairs(self, kind: str) -> list[tuple[str, str]]:
        """The names in a directory of directories."""
        return [(outer, inner) for outer in self._names(kind) for inner in self._names(f"{kind}/{outer}")]

    def _is_ours(self, thing: Thing) -> bool:
        return self._presence(thing) in (Presence.PRESENT, Presence.PARTIAL)

    def _require(self, thing: Thing) -> None:
        presence = self._presence(thing)
        if presence is not Presence.PRESENT:
            raise DriverError(f"cannot use {thing.marks}: it is {presence}")

    # Templates

    def templates(self) -> tuple[tuple[Name, TransactionId], ...]:
        """Every template head in the pool that is ours, finished or not."""
        pairs = self._pairs("templates")
        return tuple(pair for pair in pairs if is_release("@".join(pair)) and self._is_ours(self._template(*pair)))

    def template_presence(self, template: Name, head: TransactionId) -> Presence:
        """PRESENT once finished, PARTIAL between begin and finish."""
        return self._presence(self._template(template, head))

    def template_path(self, template: Name, head: TransactionId) -> str:
        """The directory that is the root of the template."""
        return f"{self._home}/templates/{template}/{head}/root"

    def begin_template(self, template: Name, head: TransactionId, base: TransactionId | None) -> None:
        """A writable head, empty or as ``base`` is now. One half made is made anew; a finished one is refused."""
        thing = self._template(template, head)
        if self._presence(thing) is Presence.PRESENT:
            raise DriverError(f"cannot begin head {head} of template {template}: it is finished already")
        origin = None if base is None else self._template(template, base)
        if origin is not None and self._presence(origin) is not Presence.PRESENT:
            raise DriverError(f"cannot copy template {template}: its head {base} is not there or not finished")
        self._destroy(thing)
        if origin is None:
            self._make(thing)
        else:
            self._make_copy(thing, origin, immutable=False)
        self._host.sync(thing.root)

    def finish_template(self, template: Name, head: TransactionId) -> None:
        """Make the head durable and mark it finished."""
        thing = self._template(template, head)
        if self._presence(thing) is Presence.PARTIAL:
            self._complete(thing)
            self._finish(thing)
        self._require(thing)

    def destroy_template(self, template: Name, head: TransactionId) -> None:
        """Destroy a head that is ours."""
        self._destroy(self._template(template, head))

    # Releases

    def releases(self) -> tuple[ReleaseName, ...]:
        """Every release in the pool that is ours."""
        names = self._names("releases")
        return tuple(name for name in names if is_release(name) and self._is_ours(self._release(name)))

    def release_presence(self, release: ReleaseName) -> Presence:
        """PRESENT when the release is there and immutable, PARTIAL when it is there but can be written."""
        return self._immutable_presence(self._release(release))

    def take_release(self, release: ReleaseName, head: TransactionId) -> None:
        """Take an immutable snapshot of the head of its template."""
        thing, origin = self._release(release), self._template(template_of(release), head)
        if self.release_presence(release) is Presence.PRESENT:
            return
        self._require(origin)
        self._destroy(thing)
        self._make_copy(thing, origin, immutable=True)
        self._finish(thing)

    def destroy_release(self, release: ReleaseName) -> None:
        """Destroy a release that is ours and nowhere mounted."""
        self._destroy(self._release(release))

    def retired_presence(self, release: ReleaseName, by: TransactionId) -> Presence:
        """Whether the release is out of use, kept in the trash of the transaction ``by``."""
        if self.release_presence(release) is not Presence.ABSENT:
            return Presence.ABSENT
        return self._immutable_presence(self._retired(release, by))

    def retire_release(self, release: ReleaseName, by: TransactionId) -> None:
        """Put a release that is nowhere mounted into the trash of a transaction."""
        self._move(self._release(release), self._retired(release, by))

    def restore_release(self, release: ReleaseName, by: TransactionId) -> None:
        """Take the release out of the trash again."""
        self._move(self._retired(release, by), self._release(release))

    def trash(self) -> tuple[TransactionId, ...]:
        """The transactions that have something in the trash."""
        return tuple(dict.fromkeys(by for by, _ in self._pairs("trash")))

    def empty_trash(self, by: TransactionId) -> None:
        """Destroy what the transaction put into the trash."""
        for name in self._names(f"trash/{by}"):
            self._destroy(self._retired(name, by))

    # Volumes

    def volumes(self, jail: Name) -> tuple[Name, ...]:
        """The volumes of a jail that are there and ours."""
        names = self._names(f"volumes/{jail}")
        return tuple(name for name in names if is_name(name) and self._is_ours(self._volume(jail, name)))

    def volume_presence(self, jail: Name, volume: Name) -> Presence:
        """PRESENT once filled, PARTIAL before."""
        return self._presence(self._volume(jail, volume))

    def volume_path(self, jail: Name, volume: Name) -> str:
        """The directory that is the root of the volume."""
        return f"{self._home}/volumes/{jail}/{volume}/root"

    def create_volume(self, jail: Name, volume: Volume, release: ReleaseName) -> None:
        """Create a volume and fill it with what the release has in that directory, owners and modes as there.

        Raises DriverError, before anything is made, when the release has no such directory, when a symlink leads
        there, or when there are device files in it: none belongs among data, and none is made on a template's word.
        """
        thing = self._volume(jail, volume.name)
        if self._presence(thing) is Presence.PRESENT:
            return
        sentence = f"cannot fill volume {volume.name} of {jail} with {volume.path} of {release}"
        self._destroy(thing)
        with self._readable(self._release(release), thing) as root:
            origin = self._directory_for(volume, root, sentence)
            self._make(thing, volume.quota_bytes)
            copy_tree(self._host, origin, thing.root)
        self._finish(thing)

    def _directory_for(self, volume: Volume, root: str, sentence: str) -> str:
        """The directory in the release ``root`` that a volume is filled from; ``sentence`` begins every complaint."""
        remedy = f"make {volume.path} a directory in the template, then upgrade that"
        try:
            origin = self._host.resolve_beneath(root, volume.path)
        except DriverError as error:
            raise DriverError(f"{sentence}: {error.message}", remedy=remedy) from error
        found = self._host.stat(origin)
        if found is None or not found.is_directory:
            raise DriverError(f"{sentence}: that is not a directory", remedy=remedy)
        device = self._host.run(
            ["find", origin, "-xdev", "(", "-type", "b", "-o", "-type", "c", ")", "-print", "-quit"]
        )
        if device.stdout:
            inside = device.stdout.strip().removeprefix(root)
            raise DriverError(f"{sentence}: {inside} is a device file", remedy="remove it from the template")
        return origin

    def destroy_volume(self, jail: Name, volume: Name) -> None:
        """Destroy a volume that is ours and nowhere mounted."""
        self._destroy(self._volume(jail, volume))


def foreign_snapshot(verb: str, jail: Name, snapshot: TransactionId) -> Foreign:
    """The refusal to touch a snapshot that is not ours."""
    sentence = f"cannot {verb} snapshot {snapshot} of {jail}: what is in its place is not ours"
    return Foreign(sentence, remedy="move it away yourself; see `rootswap volume list`")

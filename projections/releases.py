"""The releases: which transaction took each, whether it is still there, and which jails need it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ledger.lifecycle import State, StepState
from ledger.names import template_of
from projections.current_state import Settled
from projections.history import Story
from projections.steps import StepLine

#: The facts of steps that take and retire releases, and which end of the change names the release.
RELEASE_FACTS = {"snapshot-taken": "after", "release-retired": "before"}


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """A release and what became of it.

    ``state`` is pending until the transaction that took it commits, then present; retiring until the one that retires
    it commits, then retired; undone if it was taken by a transaction that was rolled back.
    """

    release: str
    template: str
    state: str
    taken_at: str
    taken_by: str
    retired_by: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether the release can be used, or can still come back."""
        return self.state in ("pending", "present", "retiring")


def changed_releases(story: Story, known: Mapping[str, ReleaseLine]) -> tuple[ReleaseLine, ...]:
    """The lines of the releases that the steps of ``story`` took or retired; ``known`` are the lines so far."""
    changed = []
    for step in story.steps:
        if step.fact == "snapshot-taken" and step.after is not None:
            changed.append(_taken(step, step.after, story, known.get(step.after)))
        elif step.fact == "release-retired" and (line := known.get(step.before or "")):
            changed.append(_retired(step, line, story))
    return tuple(changed)


def released_names(story: Story) -> tuple[str, ...]:
    """The releases that the steps of ``story`` took or retired."""
    found = (getattr(step, RELEASE_FACTS[step.fact]) for step in story.steps if step.fact in RELEASE_FACTS)
    return tuple(name for name in found if name is not None)


def jails_on(release: str, settled: Mapping[str, Settled]) -> tuple[str, ...]:
    """The jails whose release it is; ``settled`` is by the name of the jail."""
    return tuple(jail for jail, state in settled.items() if state.release == release)


def jails_holding(release: str, settled: Mapping[str, Settled]) -> tuple[str, ...]:
    """The jails that would be rolled back to it next; ``settled`` is by the name of the jail."""
    return tuple(jail for jail, state in settled.items() if state.past[-1:] == (release,))


def _taken(step: StepLine, release: str, story: Story, known: ReleaseLine | None) -> ReleaseLine:
    if _is_undone(step, story):
        state = "undone"
    else:
        state = "present" if story.line.state == State.COMMITTED else "pending"
    if known is not None:
        return replace(known, state=state)
    at = step.started_at or story.line.last_at
    return ReleaseLine(release, template_of(release), state, at, story.line.transaction_id)


def _retired(step: StepLine, known: ReleaseLine, story: Story) -> ReleaseLine:
    if _is_undone(step, story):
        return replace(known, state="present", retired_by=None)
    state = "retired" if story.line.state == State.COMMITTED else "retiring"
    return replace(known, state=state, retired_by=story.line.transaction_id)


def _is_undone(step: StepLine, story: Story) -> bool:
    return step.state == StepState.UNDONE or story.line.state == State.ROLLED_BACK

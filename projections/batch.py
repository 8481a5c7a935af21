"""A batch of records on its way into the tables: what they add up to is written once, at the end."""

from sqlite_utils import Database

from ledger.lifecycle import ENDS, State
from ledger.plain import PlainRecord
from projections import tables
from projections.changes import TurnLine, change_of, marks_of
from projections.current_state import TargetLine, settle
from projections.history import BEGINNINGS, ENDINGS, Draft, Story, TransactionLine
from projections.marks import MARKING, Marks, mark
from projections.releases import RELEASE_FACTS, ReleaseLine, changed_releases, released_names
from projections.timeline import DECISION, DecisionLine, decision


class Batch:
    """Records that follow one of the moment ``before``, which is None where they are the first."""

    def __init__(self, database: Database, before: str | None) -> None:
        self._database = database
        self._before = before
        self._drafts: dict[str, Draft] = {}
        self._marks: dict[str, Marks] = {}
        self._turns: list[TurnLine] = []
        self._decisions: list[DecisionLine] = []
        self._releases = Releases(database)
        self._targets = Targets(database)

    def add(self, record: PlainRecord) -> None:
        """Go on with ``record``."""
        if self._before is None or record.at < self._before:
            self._turns.append(TurnLine(record.seq, record.at))
        self._before = record.at
        name, kind = record.transaction, record.type
        draft = None if name is None else self._go_on(record, name)
        if draft is None or name is None:
            return
        if kind in MARKING:
            mark(self._marks_of(record, name), record)
        if kind in ENDINGS:
            self._targets.settle(draft.line())
        elif kind == DECISION:
            self._decisions.append(decision(record))

    def write(self) -> None:
        """Bring the tables up to the last record, inside the caller's transaction."""
        database, told = self._database, self._drafts
        tables.TURNS.put(database, self._turns)
        tables.DECISIONS.put(database, self._decisions)
        tables.TARGETS.put(database, self._targets.changed())
        tables.RELEASES.put(database, self._releases.changed())
        tables.TRANSACTIONS.put(database, [draft.line() for draft in told.values()])
        tables.STEPS.put_values(database, [step for draft in told.values() for step in draft.steps])
        marks = {name: self._marks.get(name) or self._kept_marks(name) for name in told}
        changes = [change_of(draft.line(), draft.steps, marks[name]) for name, draft in told.items()]
        tables.CHANGES.put(database, changes)

    def _go_on(self, record: PlainRecord, transaction: str) -> Draft | None:
        """The story that ``record`` belongs to, after it; None if it has no beginning."""
        draft = self._drafts.get(transaction)
        if record.type in BEGINNINGS:
            draft = self._drafts[transaction] = Draft.begin(record)
            return draft
        if draft is None:
            told = tables.find_story(self._database, transaction)
            if told is None:
                return None
            draft = self._drafts[transaction] = Draft.of(told)
        fact = draft.add(record)
        if fact in RELEASE_FACTS or (draft.state in ENDS and draft.has_fact(RELEASE_FACTS)):
            self._releases.follow(draft.story())
        return draft

    def _marks_of(self, record: PlainRecord, transaction: str) -> Marks:
        marks = self._marks.get(transaction)
        if marks is None:
            marks = self._marks[transaction] = Marks() if record.version == 1 else self._kept_marks(transaction)
        return marks

    def _kept_marks(self, transaction: str) -> Marks:
        found = tables.CHANGES.find(self._database, "transaction_id = ?", [transaction])
        return marks_of(found[0]) if found else Marks()


class Releases:
    """The releases that a batch of records is about: read when they are met, written with the batch."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, ReleaseLine | None] = {}
        self._changed: dict[str, ReleaseLine] = {}

    def follow(self, story: Story) -> None:
        """Take note of what ``story`` says of its releases now."""
        names = released_names(story)
        if not names:
            return
        for name in names:
            if name not in self._known:
                self._known[name] = next(iter(tables.RELEASES.find(self._database, "release = ?", [name])), None)
        known = {name: line for name in names if (line := self._known[name]) is not None}
        for line in changed_releases(story, known):
            self._known[line.release] = self._changed[line.release] = line

    def changed(self) -> list[ReleaseLine]:
        """Their lines, in the order in which they were first changed."""
        return list(self._changed.values())


class Targets:
    """The targets that a batch of records settles: read when they are met, written with the batch."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, TargetLine | None] = {}
        self._changed: dict[str, TargetLine] = {}

    def settle(self, line: TransactionLine) -> None:
        """As the ledger's own index does: an end settles the target, a refusal does not."""
        if line.state == State.REJECTED or line.ended_at is None:
            return
        target, settled = line.target, line.after if line.state == State.COMMITTED else line.before
        if settled is None:
            self._changed.pop(target, None)
            self._known[target] = None
            tables.TARGETS.remove(self._database, target)
            return
        if target not in self._known:
            self._known[target] = next(iter(tables.TARGETS.find(self._database, "target = ?", [target])), None)
        new = settle(self._known[target], target, settled, line.transaction_id, line.ended_at)
        self._known[target] = self._changed[target] = new

    def changed(self) -> list[TargetLine]:
        """Their lines, in the order in which they came to be."""
        return list(self._changed.values())

"""Build or upgrade a template offline."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, Presence, Recipe
from commands.steps.step import Phase, Step
from ledger.facts import TemplateBuilt
from ledger.names import Name, TransactionId


class BuildTemplate(Step):
    """Give a template a new head: empty or a copy of ``base``, then changed by following the recipe in it.

    The base is not touched, so a failed build leaves the template as it was.
    """

    kind: Literal["build_template"] = "build_template"
    phase: ClassVar[Phase] = Phase.PREPARE
    template: Name
    head: TransactionId
    base: TransactionId | None
    recipe: Recipe

    def probe(self, on: Drivers) -> Presence:
        """Whether the head is there and finished."""
        return on.storage.template_presence(self.template, self.head)

    def run(self, on: Drivers) -> None:
        """Build the head; a half-built one is thrown away first, for what a recipe left behind cannot be trusted."""
        match on.storage.template_presence(self.template, self.head):
            case Presence.PRESENT:
                return
            case Presence.PARTIAL:
                self.undo(on)
            case _:
                pass
        on.storage.begin_template(self.template, self.head, self.base)
        on.builder.build(self.recipe, on.storage.template_path(self.template, self.head), on.cancelled)
        on.storage.finish_template(self.template, self.head)

    def undo(self, on: Drivers) -> None:
        """Destroy the head, after whatever still runs in it."""
        on.builder.clear(on.storage.template_path(self.template, self.head))
        on.storage.destroy_template(self.template, self.head)

    def fact(self, on: Drivers) -> TemplateBuilt:
        """Which packages the head holds now."""
        path = on.storage.template_path(self.template, self.head)
        return TemplateBuilt(
            before=None if self.base is None else f"{self.template}:{self.base}",
            after=f"{self.template}:{self.head}",
            template=self.template,
            head=self.head,
            base=self.base,
            packages=on.builder.packages(path),
        )

    def forward_words(self) -> str:
        """One line for people."""
        if self.base is None:
            return f"build template {self.template} ({self.recipe.method})"
        return f"upgrade template {self.template} in a copy of {self.base} ({self.recipe.method})"

    def undo_words(self) -> str:
        """One line for people."""
        return "destroy the new head; the template stays as it was"

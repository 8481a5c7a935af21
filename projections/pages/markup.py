"""HTML, written so that nothing in it can be taken for markup that was not meant to be.

Text is escaped and made visible where it enters; only what ``element`` has made is ``Markup``.
"""

from functools import cache
from html import escape
from importlib.resources import files
from typing import NewType

from projections.cells import visible

#: HTML that is safe to stand in a page.
Markup = NewType("Markup", str)
Child = Markup | str | None

_VOID = frozenset({"meta", "br", "hr"})


def text(words: str) -> Markup:
    """Words, as text."""
    return Markup(escape(visible(words), quote=True))


def element(name: str, /, *children: Markup | None, **attributes: str | None) -> Markup:
    """An element. ``class_`` is the attribute class, ``aria_label`` is aria-label; None is no attribute, no child."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(child for child in children if child is not None)
    return Markup(f"<{name}{said}>" if name in _VOID else f"<{name}{said}>{inside}</{name}>")


def words(name: str, said: str | int | None, /, **attributes: str | None) -> Markup | None:
    """An element with text in it; none where there is nothing to say."""
    return None if said is None or said == "" else element(name, text(str(said)), **attributes)


def joined(*children: Markup | None) -> Markup:
    """Several, one after the other."""
    return Markup("".join(child for child in children if child is not None))


@cache
def _style() -> str:
    return files("projections.pages").joinpath("style.css").read_text(encoding="utf-8")


def page(title: str, *body: Markup | None) -> str:
    """A whole page. It forbids itself all that it does not need: scripts, frames, and any look at the network."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        words("title", title),
        element("style", Markup(_style())),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', *body), lang='en')}\n"

"""Text from elsewhere, made harmless: what a jail or a tool says must not steer the terminal of whoever reads it."""

import re

#: Control characters other than newline, tab and the colours that ``output.paint`` sets.
_CONTROL = re.compile(r"\x1b(?!\[\d*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """The text with a question mark for each character that would do more to a terminal than be read."""
    return _CONTROL.sub("?", text)


def wrapped(line: str, width: int) -> str:
    """A line of prose in lines of at most ``width``, the further ones indented as the first; words are not broken.

    Never for a command that can be pasted.
    """
    if len(line) <= width:
        return line
    import textwrap

    indent = " " * (len(line) - len(line.lstrip(" 0123456789")))
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

"""Text from a log on its way into a terminal, a spreadsheet or a page: what it holds was written by others."""

#: What makes a spreadsheet take a cell for a formula; OWASP, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 the wide ones count as well


def visible(text: str) -> str:
    """``text`` in one line, what cannot be seen spelt out: ESC as ``\\x1b``, a bidi override as ``\\u202e``."""
    return text if text.isprintable() else "".join(map(_spelt, text))


def guarded(text: str) -> str:
    """``text`` as a cell that no spreadsheet calculates: what looks like a formula starts with an apostrophe."""
    shown = visible(text)
    return f"'{shown}" if text.startswith(_FORMULA) else shown


def _spelt(char: str) -> str:
    if char.isprintable():
        return char
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"

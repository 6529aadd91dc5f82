"""Program text as tokens with their lines, for small parsers of hostile files."""

import re
from typing import NoReturn

from hwlut.fields import shorten

__all__ = ["NESTING_LIMIT", "Source", "published"]

NESTING_LIMIT = 100
"""How deeply expressions may be nested."""

_SKIPPED = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_FIGURE = re.compile(r"//[ \t]*([A-Z][A-Za-z0-9_]{0,20}%?)[ \t]*=[ \t]*([^\n]{1,40})")


class Source:
    """The tokens of `text`, each a match of `pattern`, read from `position` on.

    Comments of C and Verilog count as space. What `pattern` does not match is a token of one character.
    Every error is a ValueError that starts with the number of the line.
    """

    def __init__(self, text: str, pattern: re.Pattern[str]):
        self.position = 0
        self._tokens: list[str] = []
        self._lines: list[int] = []
        self._depth = 0
        place, line = 0, 1
        while True:
            end = _SKIPPED.match(text, place).end()  # type: ignore[union-attr]  # it matches nothing, too
            line += text.count("\n", place, end)
            if end == len(text):
                break
            self._lines.append(line)
            if text.startswith("/*", end):
                raise ValueError(f"line {line}: the comment has no end")
            found = pattern.match(text, end)
            token = found[0] if found else text[end]
            self._tokens.append(token)
            place = end + len(token)
            line += token.count("\n")
        self._lines.append(line)

    @property
    def line(self) -> int:
        """The line of the token to come."""
        return self._lines[min(self.position, len(self._tokens))]

    def peek(self, ahead: int = 0) -> str:
        """The token to come, or the one so many further on; empty at the end."""
        index = self.position + ahead
        return self._tokens[index] if index < len(self._tokens) else ""

    def next(self) -> str:
        """Take the token to come."""
        token = self.peek()
        if not token:
            self.fail("the file ends too early")
        self.position += 1
        return token

    def accept(self, token: str) -> bool:
        """Take the token to come if it is this one."""
        found = self.peek() == token
        self.position += found
        return found

    def expect(self, token: str) -> None:
        """Take the token to come, which must be this one."""
        if not self.accept(token):
            self.fail(f"expected {token!r}, not {shorten(self.peek()) if self.peek() else 'the end of the file'}")

    def name(self) -> str:
        """Take the token to come, which must be a name."""
        if not re.fullmatch(r"[A-Za-z_]\w*", self.peek(), re.ASCII):
            self.fail(f"expected a name, not {shorten(self.peek()) if self.peek() else 'the end of the file'}")
        return self.next()

    def descend(self) -> None:
        """Enter one level of an expression; leave it by `ascend`."""
        self._depth += 1
        if self._depth > NESTING_LIMIT:
            self.fail(f"the expression is nested more than {NESTING_LIMIT} deep")

    def ascend(self) -> None:
        """Leave one level of an expression."""
        self._depth -= 1

    def fail(self, problem: str, line: int | None = None) -> NoReturn:
        """Raise ValueError for this line, or for that of the token to come."""
        raise ValueError(f"line {line or self.line}: {problem}")


def published(text: str) -> dict[str, str]:
    """Figures that a file of EvoApproxLib states of its circuit in comments, such as ``{"MAE%": "0.051 %"}``."""
    return {key: value.strip() for key, value in _FIGURE.findall(text)[:32]}

"""HTML from elements, in which all text is escaped."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Html", "cell", "joined", "table", "tag"]

_VOID = ("br", "meta")


class Html(str):
    """What is HTML already; any other text is escaped where it goes into an element."""

    __slots__ = ()


def joined(parts: Iterable[Any]) -> Html:
    """Parts behind each other; None is none."""
    return Html("".join(_text(part) for part in parts if part is not None))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element: ``tag("a", "text", href="#top")``.

    An attribute's name is written with dashes for underscores, and without those at its end; one that is None or False
    is left out, of one that is True only the name is written.
    """
    given = (
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    opened = Html(f"<{name}{''.join(given)}>")
    return opened if name in _VOID else Html(f"{opened}{joined(children)}</{name}>")


def table(caption: str, headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Html:
    """A table that scrolls sideways within itself. The first cell of a row names it.

    headers: those that begin with ">" are of columns of numbers. rows: their cells, as of `cell`.
    """
    kinds = ["n" if header.startswith(">") else None for header in headers]
    head = tag("tr", *(tag("th", h.removeprefix(">"), scope="col", class_=kind) for h, kind in zip(headers, kinds)))
    body = [
        tag(
            "tr",
            tag("th", cell(first), scope="row"),
            *(tag("td", cell(value), class_=kind) for value, kind in zip(rest, kinds[1:])),
        )
        for first, *rest in rows
    ]
    whole = tag("table", tag("caption", tag("span", caption)), tag("thead", head), tag("tbody", *body))
    return tag("div", whole, class_="scroll", role="region", tabindex="0", aria_label=caption)


def cell(value: Any) -> str:
    """A value as it is shown: numbers with commas, of real ones four digits, a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return value if isinstance(value, Html) else str(value)


def _text(part: Any) -> str:
    return part if isinstance(part, Html) else html.escape(str(part))

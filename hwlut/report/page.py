"""The page of a report: head, navigation, sections."""

from collections.abc import Sequence

from hwlut.report.html import Html, joined, tag
from hwlut.report.style import STYLE

__all__ = ["page"]


def page(title: str, told: str, sections: Sequence[tuple[str, str, Html | None]]) -> str:
    """The whole document, which needs nothing from elsewhere.

    told: a line below the title. sections: anchor, heading and content of each; those without one are left out.
    """
    there = [(anchor, heading, content) for anchor, heading, content in sections if content is not None]
    places = [tag("li", tag("a", heading, href=f"#{anchor}")) for anchor, heading, _ in there]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", told, class_="note")),
        tag("nav", tag("ul", *places), aria_label="Sections"),
        tag("main", *(_section(*each) for each in there)),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, "\n", body, lang="en") + "\n"


def _section(anchor: str, heading: str, content: Html) -> Html:
    return joined([tag("section", tag("h2", heading), content, id=anchor), "\n"])

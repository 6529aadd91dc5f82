"""Docstrings of this project as Markdown, for the site: entries of sections as lists, names as links."""

import re
from collections.abc import Iterator

import griffe

__all__ = ["Docstrings", "markdown"]

_SECTION = re.compile(r"^(\w+)\n-{3,}\n((?:.+\n?)*)", re.MULTILINE)
_NAMES = r"[*]{0,2}[a-z_]\w*(?:, [*]{0,2}[a-z_]\w*)*"
_START = re.compile(rf"(?:^(?:- )?|(?<=\. ))({_NAMES})(?=: )", re.MULTILINE)
_OWN = re.compile(r"(?<![`\w])`(hwlut(?:\.\w+)+)`(?!`)")

_LISTED = {"Enum": "Members", "IntEnum": "Members", "IntFlag": "Members", "NamedTuple": "Fields"}


def markdown(text: str) -> str:
    """A docstring as Markdown.

    The entries of a headed section, "name, name: what", become a list; the names that are told of, there and at the
    begin of sentences, become code; and `hwlut.NAME` becomes a link to it, where the site has it.
    """
    text = _SECTION.sub(lambda found: f"**{found[1]}**\n\n{_entries(found[2])}\n", text)
    text = _START.sub(lambda names: re.sub(r"([*\w]+)", r"`\1`", names[0]), text)
    return _OWN.sub(r'<autoref optional identifier="\1"><code>\1</code></autoref>', text)


def _entries(lines: str) -> str:
    whole = re.sub(r"\n +", " ", lines)  # what is indented goes on
    apart = re.sub(rf"(?<=\. )(?={_NAMES}: )", "\n", whole)
    return "".join(f"- {line.strip()}\n" for line in apart.splitlines())


class Docstrings(griffe.Extension):
    """Rewrites each docstring as it is read, and lets a name that a package exports be more than its module."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_class_members(self, *, cls: griffe.Class, **kwargs: object) -> None:
        bases = {str(base).rpartition(".")[2] for base in cls.bases}
        for kind in bases & _LISTED.keys():
            if cls.docstring:
                names = ", ".join(f"`{name}`" for name, member in cls.members.items() if member.is_attribute)
                cls.docstring.value += f"\n\n{_LISTED[kind]}: {names}."

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: object) -> None:
        found = []
        for module in [each for each in _modules(pkg) if each is not pkg]:  # hwlut.fit is documented as a package
            for name in module.exports or ():
                member = module.members.get(name) if isinstance(name, str) else None
                if member is not None and (member.is_alias or name in module.imports):
                    source = module.imports.get(name, f"{module.path}.{name}")
                    found.append((module, name, loader.modules_collection[source]))
        for module, name, target in found:  # only now, since a module that is hidden finds nothing any more
            module.members[name] = griffe.Alias(name, target, parent=module)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    """A package, all packages in it, and their modules."""
    yield module
    for member in module.members.values():
        if not member.is_alias and member.is_module:
            yield from _modules(member)

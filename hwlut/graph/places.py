"""Which module a node belongs to, and in which of its calls."""

import re
from typing import Any

from torch import nn
from torch.fx import Node

__all__ = ["Places"]

_SLICE = re.compile(r"slice\((None|-?\d+), (None|-?\d+), (None|-?\d+)\)")


class Places:
    """Finds modules of `model` by the stacks of calls that torch.export leaves in its nodes.

    names: for each path the first name of the module there. A module that export met by several names is one, and its
    calls are counted together.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.first = {module: name for name, module in model.named_modules()}
        self.names = {name: self.first[each] for name, each in model.named_modules(remove_duplicate=False)}
        self.calls: dict[str, dict[str, int]] = {}

    def __call__(self, node: Node) -> tuple[str, str, int]:
        """Path, class and number of the call of the innermost named module."""
        place = "", 0
        for key, (path, _) in (node.meta.get("nn_module_stack") or {}).items():
            module = self._module(path)
            if module in self.first:
                name = self.first[module]
                calls = self.calls.setdefault(name, {})
                place = name, calls.setdefault(key, len(calls))
        name, call = place
        return name, type(self.model.get_submodule(name)).__name__, call

    def _module(self, path: str) -> Any:
        """The module at a path, in which a slice of a container may stand."""
        module: Any = self.model
        for part in path.split(".") if path else ():
            if found := _SLICE.fullmatch(part):
                module = module[slice(*(None if bound == "None" else int(bound) for bound in found.groups()))]
            else:
                module = getattr(module, part, None)
        return module

"""Parts of transformers by name: the operations of each, as the models of Hugging Face call them."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from hwlut.fields import shorten

__all__ = ["PARTS", "part_patterns"]

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "self-attention": (
            "*.attention.self.*",
            "*.attention.[qkv]_proj",
            "*.attention.quantized_products.*",
            "*.attn.c_attn",
            "*.attn.quantized_products.*",
        ),
        "self-output": ("*.attention.output.*", "*.attention.o_proj", "*.attn.c_proj"),
        "output": ("*[0-9].output.*", "*.mlp.fc2", "*.mlp.c_proj"),
        "intermediate": ("*.intermediate.*", "*.mlp.fc1", "*.mlp.c_fc"),
        "pooler": ("*.pooler.*",),
        "classifier": ("classifier", "classifier.*", "score"),
    }
)
"""Patterns of the names in BERT and RoBERTa, DeiT, and GPT-2."""


def part_patterns(names: Iterable[str], parts: Sequence[str]) -> tuple[str, ...]:
    """The patterns of `parts` that match any of the names of operations; ValueError for a part without."""
    names, found = list(names), list[str]()
    for part in parts:
        own = [pattern for pattern in PARTS[part] if fnmatch.filter(names, pattern)]
        if not own:
            raise ValueError(f"search part {part} must be in the model; there are {shorten(names)}")
        found += own
    return tuple(found)

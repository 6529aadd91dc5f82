"""Families of models lose half of their groups: smaller, equal to the masked ones, and as the documentation tells."""

import pytest
import torch

from hwlut.prune import groups, mask_, shrink
from hwlut.quant.calibration import called
from tests.pruned_families import FAMILIES, PAGE, family, halved, lines, pruned, quantized

DOWN = {line.split("|")[1].strip(): line for line in lines(PAGE.read_text())}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_smaller_and_equal(name, need):
    need("transformers")
    found = pruned(name)
    assert found.gap < 1e-10 and found.weights < 1e-10 and found.codes < 1e-3
    assert found.couplings > 1 and found.after < 0.8 * found.before
    assert DOWN[name] == found.line(), "python -m tests.pruned_families writes the table anew"


def test_the_page_tells_of_each_family():
    assert list(DOWN) == list(FAMILIES)


@pytest.mark.parametrize("name", ["VGG", "DeiT, as in timm"])
def test_a_model_without_quantizers_has_the_same_groups(name):
    model, sample = family(name)
    found = groups(model, sample)
    coded = groups(quantized(model, sample), sample)
    assert {each.name: each.size for each in coded} == {each.name: each.size for each in found}
    removed = halved(found)
    smaller = shrink(model, found, removed, sample)
    mask_(model, found, removed)
    with torch.no_grad():
        assert torch.allclose(called("sample", smaller, sample), called("sample", model, sample), atol=1e-5)

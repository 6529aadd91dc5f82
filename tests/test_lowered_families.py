"""Families of models become programs that are near them, and as the documentation tells."""

import pytest
import torch

from hwlut.lowering import Simulation
from hwlut.program.ports import decoded, encoded
from hwlut.search import quantize_uniform
from tests.lowered_families import PAGE, certain, coded, lines, lowered, tensors
from tests.pruned_families import FAMILIES, HEADS, TEXT

DOWN = {line.split("|")[1].strip(): line for line in lines(PAGE.read_text())}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_a_program(name, need):
    need("transformers")
    found = lowered(name)
    assert found.equal and found.gap < 0.02 and found.cosine > 0.9 and found.results
    assert certain(DOWN[name]) == certain(found.line()), "python -m tests.lowered_families writes the table anew"


def test_the_page_tells_of_each_family():
    assert list(DOWN) == list(FAMILIES)


@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
def test_no_token_sees_a_later_one(name, need):
    need("transformers")
    model, sample = coded(name)
    program = Simulation(model, sample).program
    before, after = sample["input_ids"], sample["input_ids"].clone()
    after[:, -1] = (after[:, -1] + 1) % 40
    first, second = program(before), program(after)
    assert torch.equal(first[:, :-1], second[:, :-1]) and not torch.equal(first, second)


def test_hidden_tokens_are_as_if_they_were_others(need):
    need("transformers")
    torch.manual_seed(0)
    from transformers import BertConfig, BertModel

    config = BertConfig(**HEADS, **TEXT)
    config._attn_implementation = "eager"
    model = BertModel(config).eval()
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    sample = {"attention_mask": mask, "input_ids": torch.randint(3, 40, (2, 6))}
    quantize_uniform(model, [sample], "8/8")
    simulation = Simulation(model, sample)
    program = simulation.program
    codes = dict(zip((port.name for port in program.inputs), tensors(sample)))
    hidden = codes | {"input_ids": torch.where(mask == 0, 7, sample["input_ids"])}
    states, other = (program(*each.values())[0] for each in (codes, hidden))
    assert torch.equal(states[mask == 1], other[mask == 1]) and not torch.equal(states[mask == 0], other[mask == 0])
    with torch.no_grad():
        wanted, given = tensors(model(**sample)), simulation(**dict(reversed(sample.items())))
    assert len(given) == len(wanted) == 2
    for result, real, port, value in zip(given, wanted, program.outputs, program(*codes.values())):
        assert float((result - real).abs().max()) < 0.02 * float(real.abs().max())
        assert torch.equal(result, decoded(port, value))
    assert all(torch.equal(encoded(port, each), each) for port, each in zip(program.inputs, codes.values()))

"""Pictures of searches: what is drawn is what was found."""

import numpy as np
import pytest

from hwlut.plot.search import bits_figure, front_figure, policy_figure


def test_bars_are_bits():
    picture = bits_figure({"first": (2, 8), "middle": (32, 4), "last": (8, 32)})
    weights, activations = picture.axes
    assert [bar.get_width() for bar in weights.patches] == [2, 0, 8]
    assert [bar.get_width() for bar in activations.patches] == [8, 4, 0]
    assert [text.get_text().strip() for text in weights.texts] == ["2", "float", "8"]
    assert [text.get_text().strip() for text in activations.texts] == ["8", "4", "float"]
    assert [label.get_text() for label in weights.get_yticklabels()] == ["first", "middle", "last"]
    assert weights.yaxis_inverted()


def panels(picture):
    """What each panel shows, by its title: numbers [decisions, lines]."""
    drawn = [axes for axes in picture.axes if axes.get_title()]
    return {axes.get_title(): np.asarray(axes.collections[0].get_array()) for axes in drawn}


def test_a_policy_is_its_probabilities():
    lines = [
        {"step": 5, "phase": "warmup"},
        {"step": 8, "policy": {"a": {"s2": 0.5, "s4": 0.5}, "b": {"s2": 0.25, "s4": 0.75}}},
        {"step": 12, "policy": {"a": {"s2": 0.9, "s4": 0.1}, "b": {"s2": 0.0, "s4": 1.0}}},
        {"step": 20, "phase": "final"},
    ]
    picture = policy_figure(lines)
    found = panels(picture)
    assert list(found) == ["s2", "s4"]
    assert found["s2"].tolist() == [[0.5, 0.9], [0.25, 0.0]] and found["s4"].tolist() == [[0.5, 0.1], [0.75, 1.0]]
    corners = picture.axes[0].collections[0].get_coordinates()
    assert corners[0, :, 0].tolist() == [5, 8, 12]
    assert [label.get_text() for label in picture.axes[0].get_yticklabels()] == ["a", "b"]


def test_operands_with_formats_of_their_own_have_panels():
    shares = {"s2": 0.1, "s2/s4": 0.2, "s4/s2": 0.3, "s4": 0.4}
    found = panels(policy_figure([{"step": 1, "policy": {"a": shares}}]))
    assert list(found) == ["weights s2", "weights s4", "activations s2", "activations s4"]
    assert [float(each.item()) for each in found.values()] == pytest.approx([0.3, 0.7, 0.4, 0.6])
    weights = panels(policy_figure([{"step": 1, "policy": {"a": {"s2/s8": 0.25, "s4/s8": 0.75}}}]))
    assert {title: each.item() for title, each in weights.items()} == {"weights s2": 0.25, "weights s4": 0.75}
    with pytest.raises(ValueError, match=r"^policy must be told of in the log, which has none$"):
        policy_figure([{"step": 1}])


def test_a_front_joins_what_none_beats():
    points = [(30.0, 0.9, "8", True), (10.0, 0.7, "2", True), (20.0, 0.6, "4", False)]
    (axes,) = front_figure(points, "target bits").axes
    best, beaten = axes.lines
    assert best.get_xydata().tolist() == [[10, 70], [30, 90]] and beaten.get_xydata().tolist() == [[20, 60]]
    assert [text.get_text() for text in axes.texts] == ["8", "2", "4"]

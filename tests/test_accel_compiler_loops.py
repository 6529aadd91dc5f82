"""Address sequences as loop nests: what nests count is what was asked for, in few pieces."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwlut.accel.compiler.nests import NoNest, Rows, cut


def counted(loops, stream):
    """All addresses of a stream along a nest, the innermost level first."""
    places = itertools.product(*map(range, reversed(loops.sizes)))
    return [stream.base + sum(i * s for i, s in zip(reversed(place), stream.strides)) for place in places]


def pieces(loops, **nests):
    """The pieces, after every address was found to be counted in order by at most so many levels."""
    found = list(
        cut({nest: {f"{nest}{n}": Rows.of(a) for n, a in enumerate(arrays)} for nest, arrays in nests.items()}, loops)
    )
    groups = len(next(iter(nests.values()))[0])
    assert [piece.start for piece in found] == [0, *(piece.stop for piece in found[:-1])]
    assert found[-1].stop == groups
    for piece in found:
        for nest, arrays in nests.items():
            assert len(piece.fields[nest].sizes) <= loops
            for n, array in enumerate(arrays):
                right = array[piece.start : piece.stop].reshape(-1).tolist()
                assert counted(piece.fields[nest], piece.fields[f"{nest}{n}"]) == right
    return found


def convolution(c=3, height=9, width=8, kernel=3, stride=2):
    image = np.arange(c * height * width).reshape(c, height, width) + 77
    windows = np.lib.stride_tricks.sliding_window_view(image, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    return windows.transpose(1, 2, 0, 3, 4).reshape(-1, c * kernel * kernel)


def test_a_convolution_is_one_nest():
    x = convolution()
    w = np.broadcast_to(np.arange(x.shape[1]), x.shape)
    (piece,) = pieces(5, feed=[x, w])
    assert sorted(piece.fields["feed"].sizes) == [3, 3, 3, 3, 4]


def test_tiles_of_outputs_are_a_level_more():
    x = convolution()
    tiles, count = 5, x.shape[1]
    x = np.tile(x, (tiles, 1))
    w = np.repeat(np.arange(tiles), len(x) // tiles)[:, None] * count + np.arange(count)
    z = np.arange(len(x) * 4).reshape(-1, 4)
    assert len(pieces(6, feed=[x, w], store=[z])) == 1
    assert len(pieces(5, feed=[x, w], store=[z])) == tiles


@pytest.mark.parametrize("loops, count", [(5, 1), (4, 4), (3, 12)])
def test_fewer_levels_take_more_pieces(loops, count):
    assert len(pieces(loops, feed=[convolution()])) == count


def test_a_group_beyond_the_levels_is_refused():
    with pytest.raises(NoNest, match="2 levels"):
        pieces(2, feed=[convolution()])


def test_sequences_that_go_on_by_chance():
    """Runs of 8, 4, 8 and 4 are blocks of 4; and rows that touch are one level."""
    starts = np.array([0, 4, 100, 50, 54, 150])
    assert len(pieces(2, feed=[(starts[:, None] + np.arange(4)).reshape(-1, 1)])) == 3
    (piece,) = pieces(1, feed=[np.arange(24).reshape(4, 6)])
    assert piece.fields["feed"].sizes == (24,)


def test_groups_of_several_kinds():
    x = np.concatenate([np.arange(12).reshape(3, 4), 2 * np.arange(8).reshape(2, 4)])
    assert len(pieces(2, feed=[x])) == 2


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_random_nests(data):
    """Products of ranges, permuted, cut off and with numbers changed."""
    draw = data.draw
    groups, steps = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    strides = draw(st.lists(st.integers(-50, 50), min_size=len(sizes), max_size=len(sizes)))
    whole = sum(
        (np.arange(size) * stride).reshape([-1 if axis == n else 1 for axis in range(len(sizes))])
        for n, (size, stride) in enumerate(zip(sizes, strides))
    )
    flat = np.resize(np.broadcast_to(whole, sizes), groups)
    x = 1000 + flat[:, None] + draw(st.integers(-3, 3)) * np.arange(steps)
    for _ in range(draw(st.integers(0, 2))):
        x[draw(st.integers(0, groups - 1))] += draw(st.integers(-5, 5))
    z = np.arange(groups)[:, None] * draw(st.integers(-2, 2)) + 100
    pieces(draw(st.integers(1, 6)), feed=[x], store=[z])

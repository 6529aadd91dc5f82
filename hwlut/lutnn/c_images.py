"""The float32 function of a convolution by look-ups as C: a window a place of the result, without a heap."""

from string import Template
from typing import Any, NamedTuple

from hwlut.nn.geometry import pads

__all__ = ["image_functions", "image_sizes", "padding_functions"]

_PLACES = {
    "reflect": "i < 0 ? -i : i < n ? i : 2 * n - 2 - i",
    "replicate": "i < 0 ? 0 : i < n ? i : n - 1",
    "circular": "i < 0 ? i + n : i < n ? i : i - n",
}

_PLACE = Template("""\
static ptrdiff_t ${name}_$mode(ptrdiff_t i, ptrdiff_t n)
{
    return $place;
}
""")

_WINDOW = Template("""\
static void ${f}_window(const float *image, ptrdiff_t height, ptrdiff_t width, ptrdiff_t top, ptrdiff_t left,
                        int8_t *codes)
{
    for (ptrdiff_t i = 0; i < $kernel_height; ++i)
        for (ptrdiff_t j = 0; j < $kernel_width; ++j) {
            const ptrdiff_t row = $row;
            const ptrdiff_t column = $column;
$inside            for (ptrdiff_t c = 0; c < $channels; ++c)
                codes[(c * $kernel_height + i) * $kernel_width + j] = $code;
        }
}
""")

_INSIDE = "            const int inside = row >= 0 && row < height && column >= 0 && column < width;\n"

_IMAGES = Template("""\
$prototype
{
    int8_t codes[$features];
    int32_t sums[$m];
${one}    if ($small)
        return;
    const size_t rows = (height + $pad_height - $span_height) / $stride_height + 1;
    const size_t columns = (width + $pad_width - $span_width) / $stride_width + 1;
    for (size_t image = 0; image < images; ++image)
        for (size_t row = 0; row < rows; ++row)
            for (size_t column = 0; column < columns; ++column) {
                float *place = y + (image * $m * rows + row) * columns + column;
                ${f}_window(x + image * $channels * height * width, (ptrdiff_t)height, (ptrdiff_t)width,
                            (ptrdiff_t)(row * $stride_height), (ptrdiff_t)(column * $stride_width), codes);
                ${f}_sums(codes, sums);
                for (size_t m = 0; m < $m; ++m)
                    place[m * rows * columns] = (float)sums[m] * ${f}_steps[$channel];
            }
}
""")


class _Axis(NamedTuple):
    """A convolution along one axis of its images."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    def place(self, start: str, step: str) -> str:
        """The coordinate, in C, of the kernel's place `step` where its window begins at `start`."""
        moved = step if self.dilation == 1 else f"{step} * {self.dilation}"
        return f"{start} + {moved} - {self.before}" if self.before else f"{start} + {moved}"

    def least(self, mode: str) -> int:
        """The smallest size that the padding and the kernel allow."""
        widest = max(self.before, self.after)
        padded = {"reflect": widest + 1, "circular": widest}.get(mode, 1)
        return max(1, padded, self.span - self.before - self.after)


def padding_functions(layers: list[Any], name: str) -> list[str]:
    """What convolutions of `layers` that pad with values of the image call, under names that begin with `name`."""
    modes = {getattr(layer, "padding_mode", None) for layer in layers}
    return [_PLACE.substitute(name=name, mode=mode, place=place) for mode, place in _PLACES.items() if mode in modes]


def image_sizes(layer: Any) -> list[str]:
    """The names of the sizes of an image."""
    return ["length"] if len(layer.kernel_size) == 1 else ["height", "width"]


def image_functions(layer: Any, names: dict[str, object]) -> str:
    """The function on images of `layer`, a convolution, whose other functions and numbers `names` has.

    An image of one dimension is one of a single row.
    """
    mode = layer.padding_mode
    reach = zip(layer.kernel_size, layer.stride, layer.dilation, pads(layer))
    axes = [_Axis(kernel, stride, dilation, *pad) for kernel, stride, dilation, pad in reach]
    small = " || ".join(f"{size} < {axis.least(mode)}" for size, axis in zip(image_sizes(layer), axes))
    names = names | {"channels": layer.in_channels, "one": "", "small": small}
    if len(axes) == 1:
        axes = [_Axis(1, 1, 1, 0, 0), *axes]
        names["one"] = "    const size_t height = 1, width = length;\n"
    height, width = axes
    for label, axis in (("height", height), ("width", width)):
        names |= {f"kernel_{label}": axis.kernel, f"stride_{label}": axis.stride}
        names |= {f"pad_{label}": axis.before + axis.after, f"span_{label}": axis.span}
    row, column = height.place("top", "i"), width.place("left", "j")
    value = "image[(c * height + row) * width + column]"
    code = f"{names['name']}_code({value}, {names['step']}, {names['zero']})"
    names |= {"inside": "", "row": row, "column": column, "code": code}
    if mode != "zeros":
        function = f"{names['name']}_{mode}"
        names |= {"row": f"{function}({row}, height)", "column": f"{function}({column}, width)"}
    elif any(axis.before or axis.after for axis in axes):
        names |= {"inside": _INSIDE, "code": f"(int8_t)(inside ? {code} : {names['zero']})"}
    return "\n".join([_WINDOW.substitute(names), _IMAGES.substitute(names)])

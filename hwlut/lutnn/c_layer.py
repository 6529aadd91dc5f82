"""The float32 function of a look-up layer as C: quantization before its unit, steps behind it."""

from string import Template

from hwlut.lutnn.c_images import image_functions, image_sizes, padding_functions
from hwlut.lutnn.layers import input_step
from hwlut.nn import LutLayer, LutLinear
from hwlut.program.c.values import array, real
from hwlut.units import LutMatmul

__all__ = ["layer_definition", "layer_prototype", "shared"]

_CODE = Template("""\
/* Round half to even (in the default rounding mode), saturated; NaN has the code of zero. */
static int8_t ${name}_code(float x, float step, int32_t zero)
{
    const float low = (float)(-128 - zero), high = (float)(127 - zero);
    float scaled = x / step;
    scaled = scaled == scaled ? scaled : 0.0f;
    scaled = scaled < low ? low : scaled > high ? high : scaled;
    return (int8_t)((int32_t)rintf(scaled) + zero);
}
""")

_ROWS = Template("""\
$prototype
{
    int8_t codes[$features];
    int32_t sums[$m];
    for (size_t row = 0; row < rows; ++row) {
        for (size_t i = 0; i < $features; ++i)
            codes[i] = ${name}_code(x[row * $features + i], $step, $zero);
        ${f}_sums(codes, sums);
        for (size_t m = 0; m < $m; ++m)
            y[row * $m + m] = (float)sums[m] * ${f}_steps[$channel];
    }
}
""")


def shared(layers: list[LutLayer], name: str) -> str:
    """What the functions of several layers call, under names that begin with `name`."""
    return "\n".join([_CODE.substitute(name=name), *padding_functions(layers, name)])


def layer_prototype(layer: LutLayer, f: str) -> str:
    """The function on float32, without what ends a declaration: on rows, or on images [images, channels, *sizes]."""
    sizes = ["rows"] if isinstance(layer, LutLinear) else ["images", *image_sizes(layer)]
    return f"void {f}_f32(const float *x, float *y, {', '.join(f'size_t {size}' for size in sizes)})"


def layer_definition(layer: LutLayer, unit: LutMatmul, name: str, f: str) -> str:
    """The function on float32 of `layer`, whose unit's functions are named after `f`, and what `shared` does not
    have of what it needs.
    """
    steps = layer.sum_step().cpu().flatten().numpy()
    names: dict[str, object] = {
        "f": f,
        "name": name,
        "prototype": layer_prototype(layer, f),
        "features": layer.features,
        "m": layer.outputs,
        "step": real(float(input_step(layer))),
        "zero": unit.zero_point,
        "channel": "0" if len(steps) == 1 else "m",
    }
    functions = _ROWS.substitute(names) if isinstance(layer, LutLinear) else image_functions(layer, names)
    return "\n".join([array("float", f"{f}_steps", steps), functions])

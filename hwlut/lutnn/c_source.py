"""Look-up layers as one C file that needs nothing but the standard headers."""

from pathlib import Path
from string import Template

from torch import nn

from hwlut.files import write_atomic
from hwlut.lutnn.c_layer import layer_definition, layer_prototype, shared
from hwlut.lutnn.layers import look_up_layers, units
from hwlut.names import check_name
from hwlut.nn import LutLayer
from hwlut.program.c.look_up import constants, definition, prototype
from hwlut.units import LutMatmul

__all__ = ["c_source", "write_c"]

_SHARED = ("INCLUDED", "PROTOTYPES", "circular", "code", "reflect", "replicate")
_OF_A_LAYER = (
    *("f32", "encode", "sums", "window"),
    *("prototypes", "thresholds", "dimensions", "table", "bias", "multipliers", "shifts", "steps"),
)

_FILE = Template("""\
/* Look-up layers of $name. C99, also C++; no heap, no state: every function may run in any number of threads.

   Compile this file by itself, with -O3 -ffp-contract=off and without -ffast-math, and link with -lm. A file that calls
   it defines ${name}_PROTOTYPES before it includes it, and gets the prototypes alone.

   ${name}_LAYER looks up rows of int8 codes [rows, features]; results are [rows, outputs], bit for bit those of the
   unit of that digest.
$real   Bytes of each layer, and the sha256 of its unit:
$layers */
#ifndef ${name}_INCLUDED
#define ${name}_INCLUDED

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

$prototypes
#ifdef __cplusplus
}
#endif

#endif

#ifndef ${name}_PROTOTYPES

$math$definitions
#endif
""")

_REAL = Template("""\
   ${name}_LAYER_f32 is the layer on float32, bit for bit where float is computed as such (FLT_EVAL_METHOD 0): rows in
   and out; of a convolution, images [images, channels, sizes], which it leaves alone where they are too small.
""")


def c_source(model: nn.Module | dict[str, LutMatmul], name: str) -> str:
    """One C99 file with the tables, encoders and sums of every look-up layer of `model`, for use without Python.

    Each layer has a function ``NAME_LAYER`` on integers, its unit, and ``NAME_LAYER_f32`` on float32, the layer's
    forward in evaluation, both bit for bit; LAYER is the name of its unit (`units`). The comment in the file's head
    says how it is used.

    Parameters
    ----------
    model: a network with layers of look-ups; or units by any names, which have no function on float32.
    name: what all names of the file begin with.

    TypeError and ValueError for other models and names, ValueError for layers whose names in C would clash.
    """
    check_name(name, "c_source name")
    layers: list[LutLayer] = []
    if isinstance(model, dict):
        given = model
    else:
        given, layers = units(model), list(look_up_layers(model).values())
    _check(given)
    named = {f"{name}_{unit.name}": unit for unit in given.values()}
    declared, defined = [], []
    for number, (f, unit) in enumerate(named.items()):
        declared.append(prototype(unit, f))
        defined.append(definition(unit, f))
        if layers:
            declared.append(layer_prototype(layers[number], f))
            defined.append(layer_definition(layers[number], unit, name, f))
    if layers:
        defined.insert(0, shared(layers, name))
    return _FILE.substitute(
        name=name,
        real=_REAL.substitute(name=name) if layers else "",
        layers="\n".join(_described(unit) for unit in named.values()),
        prototypes="".join(f"{each};\n" for each in declared),
        math="#include <math.h>\n\n" if layers else "",
        definitions="\n".join(defined),
    )


def write_c(model: nn.Module | dict[str, LutMatmul], path: str | Path, name: str | None = None) -> Path:
    """Write `c_source` to `path`, by default with the name of the file."""
    path = Path(path)
    write_atomic(path, c_source(model, path.stem if name is None else name))
    return path


def _check(given: dict[str, LutMatmul]) -> None:
    for unit in given.values():
        if not isinstance(unit, LutMatmul):
            raise TypeError(f"c_source units must be LutMatmul, not {type(unit).__name__}")
    names = [unit.name for unit in given.values()]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"c_source names of units must differ, not {name!r} twice")
        if name in _SHARED:
            raise ValueError(f"c_source name of a layer must not be {name!r}, which stands for something else in C")
        for own in _OF_A_LAYER:
            if f"{name}_{own}" in names:
                raise ValueError(f"c_source names of layers must not clash in C, as {name!r} and '{name}_{own}' do")


def _described(unit: LutMatmul) -> str:
    """A layer's line of the head."""
    sizes = ", ".join(f"{each.name} {each.values.nbytes}" for each in constants(unit))
    shape = f"{unit.features} to {unit.outputs}, v {unit.v}, k {unit.k}, {unit.encoder.value}, {unit.table_bits} bits"
    return f"   {unit.name}: {shape}; {sizes}\n     {unit.digest}"

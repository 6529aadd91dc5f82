"""Programs in ONNX, run by onnxruntime."""

import torch

from hwlut import Fixed, Multiplier, Program
from hwlut.program import export_onnx
from hwlut.units import Requantize
from hwlut.units.ports import Port

S8, U8, WIDE = Fixed(8), Fixed(8, signed=False), Fixed(32)
EXACT = {"s8": Multiplier(family="exact", signed=True), "u8": Multiplier(family="exact")}
MIXED = Multiplier(family="exact", a=U8, b=S8)


def session(path):
    import onnx
    import onnxruntime

    model = onnx.load_from_string(path.read_bytes())
    onnx.checker.check_model(model, full_check=True)
    assert {each.domain for each in model.opset_import} == {""}
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(path, *inputs):
    """Outputs by onnxruntime, all as tensors."""
    held = session(path)
    feeds = {each.name: x.numpy() for each, x in zip(held.get_inputs(), inputs)}
    return [torch.from_numpy(y) for y in held.run(None, feeds)]


def draw(port, *shape, seed=0):
    """Codes of a port with its ends among them."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(port.format.min, port.format.max + 1, shape, generator=generator)
    flat = codes.view(-1)
    flat[0], flat[-1] = port.format.min, port.format.max
    return codes.to(torch.int32 if port.format.max < 1 << 31 else torch.int64)


def agree(program, tmp_path, *codes):
    """The file gives the program's results, in their types."""
    path = export_onnx(program, tmp_path / "program.onnx", real=False)
    wanted = program(*codes)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    found = run(path, *codes)
    assert len(found) == len(wanted)
    for port, each, want in zip(program.outputs, found, wanted):
        assert each.dtype == want.dtype and torch.equal(each, want), port.name
    return path


def kinds(path):
    import onnx

    return {node.op_type for node in onnx.load_from_string(path.read_bytes()).graph.node}


def held(program_nodes, inputs, names=None):
    """A program of the nodes, whose outputs are `names` (the last value, unless given) in the narrowest formats."""
    from hwlut.units.nodes import format_of

    names = names or [program_nodes[-1].name]
    spans = {port.name: (port.format.min, port.format.max) for port in inputs}
    for node in program_nodes:
        spans[node.name] = node.span(*(spans[each] for each in node.operands))
    outputs = tuple(Port(name, format_of(spans[name])) for name in names)
    return Program(inputs=tuple(inputs), nodes=tuple(program_nodes), outputs=outputs)


def of(node, *ports, before=()):
    return held([*before, node], ports)


def weights(shape, format, seed=0):
    return draw(Port("w", format), *shape, seed=seed).numpy()


def requantize(ratios, output=S8, zero_point=0, rounding="half_even"):
    return Requantize.from_ratios(ratios, input=WIDE, output=output, zero_point=zero_point, rounding=rounding)

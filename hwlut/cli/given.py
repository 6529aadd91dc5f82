"""What a program is given by a file or by the test data of a task."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwlut.units import Program

__all__ = ["check_shapes", "codes_of", "in_file"]


def check_shapes(program: "Program", given: list[Any]) -> None:
    """ValueError unless there is a batch of the right shape for each input."""
    if len(given) != len(program.inputs):
        raise ValueError(f"inputs must be {len(program.inputs)}, those of {program.name}, not {len(given)}")
    for port, each in zip(program.inputs, given):
        if port.shape is not None and tuple(each.shape[1:]) != port.shape:
            shape = ", ".join(map(str, port.shape))
            raise ValueError(f"input {port.name!r} must have the shape [batch, {shape}], not {list(each.shape)}")


def codes_of(program: "Program", given: list[Any], codes: bool) -> list[Any]:
    """The codes of a batch of each input, of codes or of real numbers."""
    from hwlut.program.ports import encoded

    taken = given if codes else [encoded(port, each) for port, each in zip(program.inputs, given)]
    program.check(*taken)
    return taken


def in_file(program: "Program", path: Path, codes: bool, limit: int | None) -> list[Any]:
    """The samples in a file for each input, codes or real numbers; ValueError naming it for what is none."""
    from hwlut.cli.tensors import read_tensors

    given = read_tensors(path, [port.name for port in program.inputs])
    if any(not each.dim() or each.is_complex() for each in given):
        raise ValueError(f"{path}: inputs must be arrays of samples, of integers or real numbers")
    if len({len(each) for each in given}) != 1:
        raise ValueError(f"{path}: inputs must have one number of samples, not {[len(each) for each in given]}")
    given = [each[:limit] for each in given]
    if not len(given[0]):
        raise ValueError(f"{path}: inputs must have at least one sample")
    check_shapes(program, given)
    if codes and any(each.is_floating_point() for each in given):
        raise TypeError(f"{path}: codes must be integers, not real numbers")
    return given

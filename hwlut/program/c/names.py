"""Names of functions and parameters in C."""

from hwlut.program.c.terms import HELPERS
from hwlut.units import Program

__all__ = ["check_function", "parameter_names"]

_KEYWORDS = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    alignas alignof and and_eq asm bitand bitor bool catch class compl constexpr const_cast decltype delete dynamic_cast
    explicit export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public reinterpret_cast static_assert static_cast template this thread_local throw true try typeid typename using
    virtual wchar_t xor xor_eq
    main size_t ptrdiff_t offsetof errno
    """.split()
)
"""Of C99 and C++, which may take in the prototype; and names of the headers."""

_LOCAL = frozenset({"batch", "item", "workspace"})


def check_function(name: str) -> str:
    """`name` itself where it may be that of a function and begin those of others."""
    if name in _KEYWORDS or name in HELPERS:
        raise ValueError(f"c_source name of the program must be free in C, not {name!r}")
    return name


def parameter_names(program: Program) -> tuple[list[str], list[str]]:
    """Those of inputs and of outputs: of their ports, behind ``p_`` where C has others of that name."""
    taken: set[str] = set()

    def chosen(name: str) -> str:
        while name in _KEYWORDS | _LOCAL | taken or name.startswith(f"{program.name}_") or name == program.name:
            name = f"p_{name}"
        taken.add(name)
        return name

    inputs = [chosen(port.name) for port in program.inputs]
    return inputs, [chosen(port.name) for port in program.outputs]

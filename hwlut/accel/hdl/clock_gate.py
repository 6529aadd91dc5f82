"""Clocks that stand still with what they drive."""

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal, ValueLike

__all__ = ["gate_clock"]


def gate_clock(m: Module, domain: str, enable: ValueLike, clear: ValueLike) -> None:
    """A clock domain in whose cycles `enable` is high, and which is reset with all else and by `clear`.

    A register at the falling edge holds the gate, so `enable` and `clear` must be there half a cycle early: made of
    registers alone.
    """
    gated = ClockDomain(domain)
    falling = ClockDomain(f"{domain}_gate", clk_edge="neg", reset_less=True)
    m.domains += [gated, falling]
    held, reset = Signal(name=f"{domain}_runs"), Signal(name=f"{domain}_resets")
    m.d[falling.name] += held.eq(enable | reset)
    m.d.comb += [
        reset.eq(ResetSignal() | clear),
        falling.clk.eq(ClockSignal()),
        gated.clk.eq(ClockSignal() & held),
        gated.rst.eq(reset),
    ]

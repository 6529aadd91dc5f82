"""Many Verilated designs in one library, so that the compiler starts once: behind the batch engine's own harness."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwlut.hdl import Rtl
from hwlut.share import share
from hwlut.verify import verilated
from hwlut.verify.beats import streams
from hwlut.verify.engine import Job, Outcome, watchdog
from hwlut.verify.harness import Bench
from hwlut.verify.tools import compiler, find_verilator, run_tool

__all__ = ["Library"]

_STREAMS = ("s_axis", "s_axis_load", "m_axis")

_PORTS = """
struct Wire { void *at; size_t first, bytes; };
struct Channel { std::vector<Wire> payload; CData *valid, *ready; };
struct Design {
    virtual ~Design() = default;
    virtual void eval() = 0;
    virtual void final() = 0;
    CData none = 0, *clk = nullptr, *reset = nullptr;
    bool low = false;
    Channel channels[3]{{{}, &none, &none}, {{}, &none, &none}, {{}, &none, &none}};
};
template <class Verilated>
struct Held : Design {
    explicit Held(VerilatedContext *context) : top(context) {}
    void eval() override { top.eval(); }
    void final() override { top.final(); }
    Verilated top;
};
using Make = std::unique_ptr<Design> (*)(VerilatedContext *);
extern const Make makers[];
inline int chosen = 0;
extern "C" void hwlut_choose(int number) { chosen = number; }

struct Model {
    std::unique_ptr<Design> design;
    CData &clk;
    explicit Model(VerilatedContext *context) : design(makers[chosen](context)), clk(*design->clk) {}
    void eval() { design->eval(); }
    void final() { design->final(); }
};
inline void set_reset(Model &m, bool on) { *m.design->reset = on != m.design->low; }
inline void rest(Model &) {}
inline uint64_t activity(const Model &) { return 0; }

template <int number>
struct Port {
    static constexpr size_t bytes = kBytes;
    static Channel &of(const Model &m) { return m.design->channels[number]; }
    static void put(Model &m, const uint8_t *beat) {
        for (const Wire &wire : of(m).payload) std::memcpy(wire.at, beat + wire.first, wire.bytes);
    }
    static void get(const Model &m, uint8_t *beat) {
        std::memset(beat, 0, bytes);
        for (const Wire &wire : of(m).payload) std::memcpy(beat + wire.first, wire.at, wire.bytes);
    }
};
template <int number>
struct In : Port<number> {
    static void valid(Model &m, bool on) { *Port<number>::of(m).valid = on; }
    static bool ready(const Model &m) { return *Port<number>::of(m).ready; }
};
template <int number>
struct Out : Port<number> {
    static bool valid(const Model &m) { return *Port<number>::of(m).valid; }
    static void ready(Model &m, bool on) { *Port<number>::of(m).ready = on; }
};
using Inputs = std::tuple<In<0>, In<1>>;
using Outputs = std::tuple<Out<2>>;
"""


class Library:
    """Designs of `rtls`, built in a folder.

    errors: by number, what Verilator said of those that it refused.
    """

    def __init__(self, rtls: Sequence[Rtl], folder: Path):
        self._rtls = rtls
        self.errors: dict[int, str] = {}
        self._bytes = max((stream.bytes for rtl in rtls for stream in streams(rtl.description).values()), default=1)
        for number, rtl in enumerate(rtls):
            self._verilate(number, rtl, folder)
        self._path = self._compile(folder)

    def _verilate(self, number: int, rtl: Rtl, folder: Path) -> None:
        tool = find_verilator()
        (source := folder / f"top{number}.v").write_text(rtl.verilog)
        options = [each if each != "Vtop" else f"V{number}" for each in (*verilated._VERILATE, *tool.correct)]
        top = ["--top-module", rtl.description["module"], "-Mdir", str(folder), str(source)]
        done = run_tool([str(tool.command), *options, *top], env=tool.environment())
        ports = {port["name"]: (port["dir"], port["width"]) for port in rtl.description["ports"]}
        if done.returncode:
            self.errors[number] = next(line for line in [*done.stderr.splitlines(), "no message"] if "rror" in line)
        elif differing := verilated._differing_port(ports, (folder / f"V{number}.h").read_text()):
            self.errors[number] = f"its description has other ports: {differing}"

    def _compile(self, folder: Path) -> Path:
        tool, numbers = find_verilator(), [n for n in range(len(self._rtls)) if n not in self.errors]
        parts = sorted(path for number in numbers for path in folder.glob(f"V{number}_*.cpp"))
        parts += [folder / f"V{number}.cpp" for number in numbers]
        headers = ["#include <cstring>", "#include <memory>", "#include <tuple>", "#include <vector>"]
        headers += [f'#include "V{number}.h"' for number in numbers]
        makers = [self._maker(n) if n in numbers else "nullptr" for n in range(len(self._rtls))]
        bytes_line = f"constexpr size_t kBytes = {self._bytes};"
        made = f"const Make makers[] = {{{','.join(makers)}}};"
        (folder / "ports.h").write_text("\n".join([*headers, bytes_line, _PORTS, made, ""]))
        text = "".join(f'#undef VL_PCH_INCLUDED\n#include "{part}"\n' for part in parts)
        (folder / "all.cpp").write_text(f'{text}#include "{share("sim", "batch.cpp")}"\n')
        command, flags = compiler()[0], [flag for flag in verilated._FLAGS if flag != "-O3"]
        includes = [f"-I{folder}", f"-I{tool.root}/include", f"-I{tool.root}/include/vltstd"]
        sources = [str(folder / "all.cpp"), *map(str, verilated._runtime(tool, False)), "-lpthread"]
        error = verilated._compile(
            [command, *flags, "-O0", "-shared", *includes, *sources, "-o", str(folder / "top.so")]
        )
        if error is not None:
            raise ValueError(f"all designs together cannot be compiled: {error}")
        return folder / "top.so"

    def _maker(self, number: int) -> str:
        description = self._rtls[number].description
        lines = [f"auto d = std::make_unique<Held<V{number}>>(c); auto &m = d->top;"]
        lines.append(f"d->clk = &m.clk; d->reset = &m.{description['reset']};")
        lines.append(f"d->low = {str(description['reset'] == 'aresetn').lower()};")
        for name, stream in streams(description).items():
            wires = ", ".join(f"{{&m.{port}, {first}, {size}}}" for port, first, size in stream.offsets())
            ends = f"&m.{name}_tvalid, &m.{name}_tready"
            lines.append(f"d->channels[{_STREAMS.index(name)}] = {{{{{wires}}}, {ends}}};")
        return f"[](VerilatedContext *c) -> std::unique_ptr<Design> {{ {' '.join(lines)} return d; }}"

    def run(self, number: int, job: Job) -> Outcome:
        """One run of a design, as `hwlut.verify.verilator` gives it."""
        found = {stream.name: stream for stream in streams(job.rtl.description).values()}
        sent = {name: self._padded(job.inputs.get(name)) for name in _STREAMS[:2]}
        received = {"m_axis": np.zeros((job.expected["m_axis"], self._bytes), np.uint8)}
        times = {name: np.zeros(len(beats), np.int64) for name, beats in (sent | received).items()}
        cycles = watchdog(job.rtl.description) + job.quiet
        ctypes.CDLL(str(self._path)).hwlut_choose(number)
        with Bench(self._path, job.seed) as bench:
            ran = bench.run(
                sent, received, times, watchdog=cycles, linger=cycles, idle=job.idle, stall=job.stall,
                interrupt=job.interrupt,
            )  # fmt: skip
        beats = received["m_axis"][: ran.done["m_axis"], : found["m_axis"].bytes]
        return Outcome(
            outputs={"m_axis": np.ascontiguousarray(beats)},
            accepted={name: times[name][: ran.done[name]] for name in sent if name in found},
            delivered={"m_axis": times["m_axis"][: ran.done["m_axis"]]},
            cycles=ran.cycles,
            latency=ran.latency,
            fault=ran.fault,
            tool=str(find_verilator()),
        )

    def _padded(self, beats: np.ndarray | None) -> np.ndarray:
        if beats is None:
            return np.zeros((0, self._bytes), np.uint8)
        return np.ascontiguousarray(np.pad(beats, ((0, 0), (0, self._bytes - beats.shape[1]))))

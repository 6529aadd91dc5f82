"""cocotb bench of any AXI4-Stream design that an .rtl.json describes.

Beside description.json, the folder $HWLUT_BENCH holds one folder a job: job.json (idle, stall, seed,
watchdog), input_<stream>.npy (beats, uint8) and, once run, output_<stream>.npy, accepted_<stream>.npy
and delivered_<stream>.npy (the cycles in which the beats were taken and given) and outcome.json. On a stream with
tlast, each frame ends where the beats say so.
"""

import json

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiStreamFrame
from testbench import DESCRIPTION, FOLDER, TB

JOBS = sorted(folder.name for folder in FOLDER.glob("job_*"))


class StreamTB(TB):
    """Beats of a job in, and out."""

    def idle(self, idle, stall, seed):
        self.pause(dict.fromkeys(self.sources, idle) | dict.fromkeys(self.sinks, stall), seed)

    async def send(self, job, count=None):
        """Queue the job's beats, of the first source only the first `count`; returns how many must come out.

        That is one for each of the first source's, or where that has tlast alone for each frame, that is a sum, or as
        many as rows have. A frame or a row that is cut off is not sent, but of one that is longer the first.
        """
        sent = []
        rows = DESCRIPTION.get("rows", {"inputs": 1, "outputs": 1})
        for name, source in self.sources.items():
            beats = np.load(job / f"input_{name}.npy")
            columns, offset = {}, 0
            for role, size in self.inputs[name]:
                columns[role] = [int.from_bytes(beat.tobytes(), "little") for beat in beats[:, offset : offset + size]]
                offset += size
            ends = [at + 1 for at, last in enumerate(columns.pop("tlast", ())) if last]
            if not sent and count is not None:
                ends = [end for end in ends if end <= count] or ends[:1]
                beats = beats[: ends[-1] if ends else max(count // rows["inputs"], 1) * rows["inputs"]]
            sent.append(len(ends) if ends and "stream_rows" not in DESCRIPTION else len(beats))
            ends = ends or [len(beats)]
            for first, end in zip([0, *ends], ends):
                if end > first:
                    await source.send(AxiStreamFrame(**{role: values[first:end] for role, values in columns.items()}))
        return sent[0] // rows["inputs"] * rows["outputs"]

    async def receive(self, job, counts, watchdog):
        """Beats of every sink until all `counts` are there, or nothing has moved for `watchdog` cycles.

        On a stream with tlast, those of whole frames.
        """
        quiet, done = 0, dict.fromkeys(self.sinks, 0)
        while any(done[name] < counts[name] for name in done) and quiet < watchdog:
            await RisingEdge(self.dut.clk)
            moved = [name for name, sink in self.sinks.items() if sink.bus.tvalid.value and sink.bus.tready.value]
            for name in moved:
                done[name] += 1
            quiet = 0 if moved else quiet + 1
        await ClockCycles(self.dut.clk, watchdog)  # time for beats too many
        received = {}
        for name, sink in self.sinks.items():
            rows = []
            while not sink.empty():
                frame = sink.recv_nowait(compact=False)
                count = len(frame.tdata)
                ends = [0] * (count - 1) + [1]
                rows += [
                    b"".join(
                        int(ends[i] if role == "tlast" else getattr(frame, role)[i]).to_bytes(size, "little")
                        for role, size in self.outputs[name]
                    )
                    for i in range(count)
                ]
            size = sum(size for _, size in self.outputs[name])
            received[name] = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), size)
        return received


@cocotb.test
@cocotb.parametrize(name=JOBS)
async def transfer(dut, name):
    """Every beat of a job, with its pauses; what came out is stored, for the caller to compare."""
    folder = FOLDER / name
    job = json.loads((folder / "job.json").read_text())
    tb = StreamTB(dut)
    await tb.reset()
    tb.idle(job["idle"], job["stall"], job["seed"])
    monitors = list(tb.watch().values())
    await tb.send(folder)
    received = await tb.receive(folder, job["expected"], job["watchdog"])

    faults = [monitor.fault for monitor in monitors if monitor.fault]
    for stream, beats in received.items():
        count = job["expected"][stream]
        np.save(folder / f"output_{stream}.npy", beats[:count])
        if len(beats) > count:
            faults.append(f"{stream} delivered more than {count} beats")
        elif len(beats) < count:
            faults.append(f"{stream} stopped after {len(beats)} of {count} beats")
    ins, outs = monitors[: len(tb.inputs)], monitors[len(tb.inputs) :]
    for kind, group in (("accepted", ins), ("delivered", outs)):
        for monitor in group:
            np.save(folder / f"{kind}_{monitor.name}.npy", np.array(monitor.cycles, np.int64))
    accepted = [monitor.cycles[0] for monitor in ins if monitor.cycles]
    delivered = [monitor.cycles[0] for monitor in outs if monitor.cycles]
    outcome = {
        "fault": faults[0] if faults else None,
        "cycles": max((monitor.cycles[-1] for monitor in monitors if monitor.cycles), default=0)
        - min(accepted, default=1)
        + 1,
        "latency": min(delivered) - min(accepted) if accepted and delivered else None,
    }
    (folder / "outcome.json").write_text(json.dumps(outcome))


@cocotb.test
async def reset_in_mid_stream(dut):
    """A reset while beats are in flight drops them, and the next beats come out as after power-up.

    What is in flight is the last job, which loads tables where the design has such a stream; what
    comes afterwards is the first one, which does not.
    """
    folder = FOLDER / JOBS[0]
    job = json.loads((folder / "job.json").read_text())
    tb = StreamTB(dut)
    await tb.reset()
    tb.idle(0.25, 0.75, job["seed"])
    await tb.send(FOLDER / JOBS[-1])
    await ClockCycles(dut.clk, 500 if len(tb.inputs) > 1 else 20)
    for source in tb.sources.values():
        source.clear()
    await tb.reset()
    for name, sink in tb.sinks.items():
        assert not getattr(dut, f"{name}_tvalid").value, f"{name}_tvalid must be low after reset"
        sink.clear()

    count = await tb.send(folder, 64)
    received = await tb.receive(folder, dict.fromkeys(tb.outputs, count), job["watchdog"])
    for name, beats in received.items():
        first = np.load(folder / f"output_{name}.npy")[:count]
        assert np.array_equal(beats, first), f"{name} differs after a reset in mid-stream"

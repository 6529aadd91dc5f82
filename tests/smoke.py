"""What an installed hwlut does in an empty folder, as `tests/matrix.py` runs it in each environment.

`smoke.py FOLDER TOOL ...` is told which of g++ and verilator are there; it ends with an AssertionError, or prints JSON.
"""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

TORCH = """
import importlib.metadata, json, torch, warnings
import hwlut
from hwlut.nn import convert

unit = hwlut.load("gelu_8.json")
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    x = torch.linspace(-2, 2, 64).reshape(8, 8).requires_grad_()
    drum = hwlut.Multiplier(family="drum", bits=8, signed=True, k=4)
    convert(model, {torch.nn.GELU: unit, "0": drum}, [x.detach()])
    model(x).square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0
    a = torch.randint(-128, 128, (5, 7), generator=torch.Generator().manual_seed(0))
    b = torch.randint(-128, 128, (7, 3), generator=torch.Generator().manual_seed(1))
    multiplier = hwlut.Multiplier(family="mitchell", bits=8, signed=True)
    product = hwlut.ops.approx_matmul(a, b, multiplier)
    assert torch.equal(product, multiplier(a[:, :, None], b).sum(1))
versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "amaranth", "typer", "safetensors")}
print(json.dumps({"versions": versions, "warnings": [str(each.message) for each in told]}))
"""


def hwlut(*arguments, status=0):
    """Both streams of the installed command."""
    command = [os.path.join(sysconfig.get_path("scripts"), "hwlut"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, f"{' '.join(arguments)}: status {done.returncode}: {done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


def smoke(tools):
    """Every step; what came out."""
    assert "gen-rtl" in hwlut("--help")[0]
    hwlut("fit", "gelu", "--segments", "8", "-o", "gelu_8.json")
    assert json.loads(hwlut("info", "gelu_8.json", "--json")[0])["name"] == "gelu_8"
    assert json.loads(hwlut("eval", "gelu_8.json", "--json")[0])["mse"] < 2e-5
    hwlut("plot", "gelu_8.json", "-o", "gelu_8.png")
    for table in ("gelu_8.json", "mul8s_drum_4"):
        hwlut("gen-rtl", table, "-o", "rtl")
    simulates = {"g++", "verilator"} <= set(tools)
    told = hwlut("sim", "gelu_8.json", "--verilog", "rtl/gelu_8.v", status=0 if simulates else 2)[simulates ^ 1]
    if simulates:
        assert "PASS" in told
    else:
        assert told.count("\n") == 1 and ("verilator" if "verilator" not in tools else "g++") in told, told
        assert "install" in told, told
    hwlut("sim", "gelu_8.json", "--scale", "5", "--engine", "pysim")
    done = subprocess.run([sys.executable, "-c", TORCH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert bool(found["warnings"]) == ("g++" not in tools), found
    written = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path("rtl").iterdir())}
    return {"python": sys.version.split()[0], "written": written, "sim": told.strip().splitlines()[-1]} | found


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    print(json.dumps(smoke(sys.argv[2:])))

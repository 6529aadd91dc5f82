"""Coverage-guided fuzzing of the readers of circuits, tables and liberty files, with atheris, which is not among what
./dev installs: python -m pip install atheris, then

    PYTHONPATH=. python tests/fuzz/importers.py c -max_total_time=600

with c, verilog, adapt, approxtorch, torchapprox or json, folders of examples, and options of libFuzzer. Whatever is
read must come out as a unit, or as ValueError of one line that names the file, within a second.
"""

import os
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["hwlut"]):
    import hwlut
    from hwlut.importers import gqa_lut, multipliers
    from hwlut.units import Multiplier

import circuits

TABLE = {"order": "value", "signed": False, "bits": 2}
READERS = {
    "c": lambda path: multipliers.read(path, "evoapprox-c", bits=2, signed=True),
    "verilog": lambda path: multipliers.read(path, "verilog", signed=True),
    "adapt": lambda path: multipliers.read(path, "adapt", **TABLE),
    "approxtorch": lambda path: multipliers.read(path, "approxtorch", **TABLE),
    "torchapprox": lambda path: multipliers.read(path, "torchapprox", **TABLE),
    "json": lambda path: (gqa_lut.recognises(path), hwlut.load(path)),
}


def seeds(kind: str, folder: Path) -> None:
    """Valid files to start from."""
    size = (2, 2, True, "mul2s_x")
    if kind == "c":
        texts = [
            make(*size) for make in (circuits.c_shifted, circuits.c_arrays, circuits.c_inverted, circuits.c_helpers)
        ]
    elif kind == "verilog":
        texts = [circuits.verilog(*size)]
    elif kind == "json":
        texts = [path.read_text() for path in sorted(Path("pretrained").glob("*_8.json"))]
    else:
        unit = Multiplier(family="exact", bits=2, signed=False)
        multipliers.write(unit, folder / "seed-0", kind, order="value")
        texts = []
    for number, text in enumerate(texts):
        (folder / f"seed-{number}").write_text(text)


def main() -> None:
    kind, *options = sys.argv[1:]
    read = READERS[kind]
    work = tempfile.mkdtemp(prefix="hwlut-fuzz-")
    path = Path("/dev/shm" if os.path.isdir("/dev/shm") else work) / f"hwlut-fuzz-{os.getpid()}"
    corpus = Path(work) / "corpus"
    corpus.mkdir()
    seeds(kind, corpus)

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read(path)
        except ValueError as error:
            message = str(error)
            if not (message.startswith(str(path)) and "\n" not in message and len(message) < 2000):
                raise AssertionError(message) from error

    atheris.Setup([sys.argv[0], *options, "-timeout=5", "-max_len=1500", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

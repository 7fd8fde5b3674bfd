#!/usr/bin/env python3
"""Our encoders beside ONNX Runtime and OpenVINO, on one core.

    .venv/bin/python bench/compare.py [--rows b0 minilm] [--precisions int8] [--rounds 10] [--seconds 1] [--core 0]
                                      [--cpu-time] [--json FILE]

All engines run the same weights on the same input; that their outputs agree is checked first. Weights are
random but for the last row, the default bundle: there the peers run inside Pillow and tokenizers. Slices of
each take turns, every engine on one thread of the same core. p10 and p50 are of all its passes; the ratio is
that of the p10 of the best peer and ours in the same round: its median, and in brackets its range. MiB is
what the process has resident afterwards, which of a peer counts the Python interpreter too. "LibTorch" is
this library with BIFOCAL_KERNELS=torch, which is no peer but for the fusion layer. bf16 is measured where
the CPU multiplies it, and for texts int8 where it has AVX512-VNNI: there LibTorch's column is float32, and ONNX
Runtime's the model that its quantize_dynamic makes. --cpu-time counts what the process used of the core, not
what passed on the clock: for a machine that others work on too.

The peers go into a scratch environment (--environment) of the packages in PEERS, on top of those in .venv
(torch, timm and transformers make the models: `tools/setup --tests`). Ours is bench_encoder: `cmake --build
build/release --target bench_encoder`.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import venv

import numpy as np
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ("onnxruntime==1.32.0", "openvino==2026.4.1", "onnx==1.23.2", "onnxscript==0.7.2", "numpy==2.4.6")
OURS, TORCH, ORT, OPENVINO = "Bifocal", "LibTorch", "ONNX Runtime", "OpenVINO"
# Of an output's difference from the reference: its length beside that of the reference.
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-1, "int8": 2e-1}


@dataclasses.dataclass
class Row:
    key: str
    title: str
    kind: str
    model: str
    # "224": pixels; "1x16": texts x tokens; "49x20x384": visual tokens, text tokens, width of text; or a photograph
    size: str


ROWS = [
    Row("b0", "EfficientNet-B0, 224", "vision", "tf_efficientnet_b0", "224"),
    Row("lite0", "EfficientNet-Lite0, 224", "vision", "tf_efficientnet_lite0", "224"),
    Row("b3", "EfficientNet-B3, 300", "vision", "tf_efficientnet_b3", "300"),
    Row("v2b0", "EfficientNetV2-B0, 224", "vision", "tf_efficientnetv2_b0", "224"),
    *(Row(f"minilm{n}", f"MiniLM-L6, {n} tokens", "text", "MiniLM-L6", f"1x{n}") for n in (16, 32, 64, 128)),
    *(Row(f"bert{n}", f"BERT-base, {n} tokens", "text", "BERT-base", f"1x{n}") for n in (16, 64, 128)),
    Row("minilm8x16", "MiniLM-L6, 8 texts of 16 tokens", "text", "MiniLM-L6", "8x16"),
    Row("fusion256", "fusion layer, d 256, 49 + 20 tokens", "fusion", "fusion-small", "49x20x384"),
    Row("fusion768", "fusion layer, d 768, 49 + 20 tokens", "fusion", "fusion-base", "49x20x768"),
    Row("item", "photograph and caption to fused vector, from JPEG", "item", str(ROOT / "build/bundles/default"),
        "examples/photos/flower.jpg"),
]


def folder_of(row, models):
    """Where its model is made, once: anew for another bundle."""
    if row.kind != "item":
        return models / row.key
    manifest = (pathlib.Path(row.model) / "bifocal.json").read_bytes()
    return models / f"{row.key}-{hashlib.sha256(manifest).hexdigest()[:12]}"


def cpu():
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    field = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return field.get("model name", "unknown"), set(field.get("flags", "").split())


def peers_python(environment):
    python = environment / "bin/python"
    if not (environment / "complete").exists():
        print(f"installing {', '.join(PEERS)} into {environment}", file=sys.stderr)
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        (environment / "complete").touch()
    # Each time: the environment may have been made for another checkout.
    ours = next((ROOT / ".venv/lib").glob("python*/site-packages"))
    next(environment.glob("lib/python*/site-packages")).joinpath("bifocal.pth").write_text(f"{ours.resolve()}\n")
    return python


class Engine:
    """A process that answers a line with a line, on one core and one thread."""

    def __init__(self, name, command, core, environment):
        self.name = name
        self.passes = []  # [round][pass], in milliseconds
        threads = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **threads, **environment}, preexec_fn=lambda: os.sched_setaffinity(0, {core}))

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            sys.exit(f"{self.name} stopped")
        return json.loads(answer)

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def close(self):
        with contextlib.suppress(BrokenPipeError):  # it has stopped, and ask() said so
            self.process.stdin.close()
        self.process.wait()

    def quantile(self, q, passes=None):
        every = sorted(passes or [each for one in self.passes for each in one])
        return every[int(q * (len(every) - 1))]


def engines_of(row, precision, folder, python, arguments):
    model = row.model if row.kind in ("fusion", "item") else folder
    ours = [arguments.build / "bench/bench_encoder", row.kind, model, folder / "input.safetensors", precision]
    peer = [python, ROOT / "bench/compare_peers.py", "serve"]
    yield OURS, ours, {}
    yield TORCH, ours, {"BIFOCAL_KERNELS": "torch"}
    if row.kind != "fusion":
        if precision != "bf16":
            yield ORT, [*peer, "onnxruntime", precision, folder], {}
        if precision != "int8":
            yield OPENVINO, [*peer, "openvino", precision, folder], {}


def output_of(engine, folder):
    file = folder / "output.safetensors"
    answer = engine.ask(f"output {file}")
    return load_file(file)["output"], answer


def reference_output(row, folder, python, arguments):
    """What all must agree with, in either precision: the last engine's in fp32, a peer where there is one."""
    name, command, environment = list(engines_of(row, "fp32", folder, python, arguments))[-1]
    with contextlib.closing(Engine(name, command, arguments.core, environment)) as engine:
        return name, output_of(engine, folder)[0]


def check_outputs(engines, precision, folder, reference):
    """-> the kernels that ours chose."""
    name, expected = reference
    kernels = None
    for engine in engines:
        output, answer = output_of(engine, folder)
        if engine.name == OURS:
            kernels = answer["kernels"]
        error = np.linalg.norm(output - expected) / np.linalg.norm(expected)
        if not error < TOLERANCE[precision]:
            sys.exit(f"{engine.name} in {precision} differs from {name} in fp32 by {error:.1e} of its length")
    return kernels


def measure(row, precision, folder, reference, python, arguments):
    with contextlib.ExitStack() as stack:
        engines = []
        for name, command, environment in engines_of(row, precision, folder, python, arguments):
            engines.append(Engine(name, command, arguments.core, environment))
            stack.callback(engines[-1].close)
        kernels = check_outputs(engines, precision, folder, reference)
        for engine in engines:
            engine.ask(f"slice {arguments.seconds / 2}")  # warm
        for turn in range(arguments.rounds):
            for i in range(len(engines)):
                engine = engines[(i + turn) % len(engines)]
                engine.passes.append(engine.ask(f"slice {arguments.seconds}")["cpu_ms" if arguments.cpu_time else "ms"])
        # Rounds of an engine line up: it has one slice in each.
        peers = [engine for engine in engines if engine.name in (ORT, OPENVINO)] or engines[1:]
        best = min(peers, key=lambda engine: engine.quantile(0.1))
        ratios = [best.quantile(0.1, theirs) / best.quantile(0.1, ours)
                  for theirs, ours in zip(best.passes, engines[0].passes)]
        return {
            "row": row.title, "precision": precision, "kernels": kernels, "best_peer": best.name,
            "ratio": statistics.median(ratios), "ratio_lowest": min(ratios), "ratio_highest": max(ratios),
            "engines": {engine.name: {"p10_ms": engine.quantile(0.1), "p50_ms": engine.quantile(0.5),
                                      "passes": sum(map(len, engine.passes)),
                                      "resident_mib": engine.resident_mib()} for engine in engines}}


def print_row(result):
    cells = []
    for name in (OURS, TORCH, ORT, OPENVINO):
        times = result["engines"].get(name)
        cells.append(f"{times['p10_ms']:.2f}, {times['p50_ms']:.2f}; {times['resident_mib']:.0f} MiB" if times else "")
    ratio = f"{result['ratio']:.2f} ({result['ratio_lowest']:.2f} to {result['ratio_highest']:.2f})"
    print(f"| {result['row']} | {result['precision']}, {result['kernels']} | " + " | ".join(cells) +
          f" | {ratio} over {result['best_peer']} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", help="only those whose key begins so: " + " ".join(row.key for row in ROWS))
    parser.add_argument("--precisions", nargs="+", default=list(TOLERANCE), choices=list(TOLERANCE), help="only those")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1, help="of a slice")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there too")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--environment", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "bifocal-peers")
    parser.add_argument("--models", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "bifocal-compare",
                        help="where the models are made, once")
    arguments = parser.parse_args()
    if not (arguments.build / "bench/bench_encoder").is_file():
        sys.exit(f"build it: cmake --build {arguments.build} --target bench_encoder")
    python = peers_python(arguments.environment)
    name, flags = cpu()
    precisions = ["fp32"] + (["bf16"] if flags & {"amx_bf16", "avx512_bf16"} else [])
    if "avx512_vnni" in flags:
        precisions.append("int8")
    precisions = [each for each in precisions if each in arguments.precisions]
    wanted = [row for row in ROWS if not arguments.rows or row.key.startswith(tuple(arguments.rows))]
    for row in wanted:
        if not (folder_of(row, arguments.models) / "input.safetensors").exists():
            subprocess.run([python, ROOT / "bench/compare_peers.py", "build", row.kind, row.model, row.size,
                            folder_of(row, arguments.models)], check=True, stdout=sys.stderr)
    print(f"{name}, one core, {time.strftime('%Y-%m-%d')}; {', '.join(PEERS[:2])}; p10, p50 in ms"
          f"{' of CPU time' if arguments.cpu_time else ''}\n")
    print(f"| | ours | {OURS} | {TORCH} | {ORT} | {OPENVINO} | ratio |\n| --- | --- | --- | --- | --- | --- | --- |")
    results = []
    for row in wanted:
        folder = folder_of(row, arguments.models)
        reference = reference_output(row, folder, python, arguments)
        for precision in precisions:
            if precision == "int8" and row.kind != "text":
                continue
            result = measure(row, precision, folder, reference, python, arguments)
            results.append(result)
            print_row(result)
    if arguments.json:
        arguments.json.write_text(json.dumps({"cpu": name, "date": time.strftime("%Y-%m-%d"), "peers": PEERS,
                                              "cpu_time": arguments.cpu_time,
                                              "rows": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Files in, vectors out, on two cores: `bifocal embed` beside the pipelines that Python users write.

    .venv/bin/python bench/pipelines.py --data ../shared/data/flickr8k/dev.jsonl [--photographs 600] [--captions 5000] [--rounds 3]

Photographs: Pillow and efficientnet_lite_pytorch, in batches of eight, channels last. Captions:
sentence-transformers, in its batches of 32 sorted by length. Both peers run the default bundle's own encoders,
as two processes of one thread, each with half of the work; their clock starts when the models are loaded and
warm. Ours is the whole command, its start included, and it computes the fusion layer's vectors from those of
the encoders. They take turns; items a second are medians, and the ratio is that of each round: its median and
range. sentence-transformers goes into a scratch environment (--environment) on top of .venv's packages.
`tools/setup --tests` and `tools/build --tests` come first.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEER = "sentence-transformers==6.2.0"


def photographs_peer(bundle, paths):
    import numpy as np
    import torch
    from efficientnet_lite_pytorch import EfficientNet
    from PIL import Image
    from safetensors.torch import load_file

    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(load_file(bundle / "vision/model.safetensors"), strict=False)
    model = model.eval().to(memory_format=torch.channels_last)

    def pixels(path):
        image = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        return torch.from_numpy((np.asarray(image, dtype=np.float32) - 127) / 128).permute(2, 0, 1)

    def run(some):
        for begin in range(0, len(some), 8):
            batch = torch.stack([pixels(path) for path in some[begin:begin + 8]])
            model.extract_features(batch.contiguous(memory_format=torch.channels_last)).mean((2, 3))

    return run, paths[:16]


def captions_peer(bundle, captions, precision):
    import torch
    from sentence_transformers import SentenceTransformer

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = SentenceTransformer(str(bundle / "text"), device="cpu", model_kwargs={"dtype": dtype})
    return lambda some: model.encode(some, batch_size=32, show_progress_bar=False), captions[:64]


def peer(what, bundle, precision):
    """In a process of its own: loads, says so, and on a line of standard input works and says the seconds."""
    import torch

    torch.set_num_threads(1)
    work = json.loads(sys.stdin.readline())
    bundle = pathlib.Path(bundle)
    with torch.inference_mode():
        run, few = photographs_peer(bundle, work) if what == "image" else captions_peer(bundle, work, precision)
        run(few)
        print("ready", flush=True)
        for _ in sys.stdin:
            began = time.perf_counter()
            run(work)
            print(time.perf_counter() - began, flush=True)


class Peers:
    """Two processes, a core each."""

    def __init__(self, python, what, bundle, precision, work, cores):
        self.items = len(work)
        self.processes = []
        for i, core in enumerate(cores):
            process = subprocess.Popen(
                [python, __file__, "--peer", what, str(bundle), precision], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
                preexec_fn=lambda core=core: os.sched_setaffinity(0, {core}))
            process.stdin.write(json.dumps(work[i::len(cores)]) + "\n")
            process.stdin.flush()
            self.processes.append(process)
        for process in self.processes:
            if process.stdout.readline() != "ready\n":
                sys.exit(f"the peer for {what} stopped")

    def per_second(self):
        for process in self.processes:
            process.stdin.write("\n")
            process.stdin.flush()
        return self.items / max(float(process.stdout.readline()) for process in self.processes)

    def close(self):
        for process in self.processes:
            process.stdin.close()
            process.wait()


def ours_per_second(binary, bundle, precision, side, items, folder, cores):
    listing, vectors = folder / "items.jsonl", folder / "vectors.npy"
    listing.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    began = time.perf_counter()
    subprocess.run([binary, "embed", "--model", bundle, "--input", listing, "--output", vectors, "--as", side,
                    "--precision", precision, "--quiet"], check=True,
                   preexec_fn=lambda: os.sched_setaffinity(0, set(cores)))
    return len(items) / (time.perf_counter() - began)


def environment_python(environment):
    python = environment / "bin/python"
    if not (environment / "complete").exists():
        print(f"installing {PEER} into {environment}", file=sys.stderr)
        venv.create(environment, with_pip=True, clear=True)
        ours = next((ROOT / ".venv/lib").glob("python*/site-packages"))
        next(environment.glob("lib/python*/site-packages")).joinpath("bifocal.pth").write_text(f"{ours.resolve()}\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", PEER], check=True)
        (environment / "complete").touch()
    return python


def read_data(path, photographs, captions, folder):
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    wanted = {record["image"] for record in records[:photographs]}
    paths = []
    with tarfile.open(path.with_suffix(".tar")) as archive:
        for member in archive:
            if member.name in wanted:
                archive.extract(member, folder, filter="data")
                paths.append(str(folder / member.name))
    return paths, [caption for record in records for caption in record["captions"]][:captions]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="JSONL with images and captions, beside its tar")
    parser.add_argument("--photographs", type=int, default=600)
    parser.add_argument("--captions", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "build/bundles/default")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build/release/bifocal")
    parser.add_argument("--environment", type=pathlib.Path,
                        default=pathlib.Path(tempfile.gettempdir()) / "bifocal-pipelines")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("two cores are needed")
    python = environment_python(arguments.environment)
    has_bf16 = "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")

    print("| items a second on two cores | in | Python | `bifocal embed` | ratio |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        paths, captions = read_data(arguments.data, arguments.photographs, arguments.captions, folder)
        rows = [("photographs", "image", "fp32", paths, [{"image": path} for path in paths])]
        rows += [("captions", "text", precision, captions, [{"text": caption} for caption in captions])
                 for precision in ("fp32", *(("bf16",) if has_bf16 else ()))]
        for title, side, precision, work, items in rows:
            peers = Peers(python, side, arguments.model, precision, work, cores)
            rounds = [(peers.per_second(),
                       ours_per_second(arguments.binary, arguments.model, precision, side, items, folder, cores))
                      for _ in range(arguments.rounds)]
            peers.close()
            ratios = [ours / theirs for theirs, ours in rounds]
            print(f"| {title} | {precision} | {statistics.median(r[0] for r in rounds):.0f} |"
                  f" {statistics.median(r[1] for r in rounds):.0f} | {statistics.median(ratios):.2f}"
                  f" ({min(ratios):.2f} to {max(ratios):.2f}) |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:5])
    else:
        main()

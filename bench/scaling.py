#!/usr/bin/env python3
"""What a second core, and a worker on it, adds: items a second of the library on one core and on two.

    bench/scaling.py [--rounds 5] [--seconds 3] [--json FILE]

bench_library embeds the JPEG photographs of examples/ with their captions, one worker a core, on the first
core and on the first two by turns. The ratio is that of each round: its median, and in brackets its range.
`cmake --build build/release --target bench_library`.
"""

import argparse
import base64
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def bodies():
    """Requests for /v1/fused/embeddings, one an item."""
    for line in (ROOT / "examples/items.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        photo = ROOT / "examples" / item["image"]
        if photo.suffix == ".jpg":
            data = base64.b64encode(photo.read_bytes()).decode()
            yield json.dumps({"items": [{"image": f"data:image/jpeg;base64,{data}", "text": item["text"]}]})


def per_second(arguments, file, cores):
    done = subprocess.run(
        [arguments.build / "bench_library", "--model", arguments.model, "--bodies", file, "--at-once", "16",
         "--seconds", str(arguments.seconds), "--warm-seconds", "1"],
        check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, cores))
    return json.loads(done.stdout)["per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of one measurement")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "build/bundles/default")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release/bench")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there too")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed")
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.write("".join(f"{body}\n" for body in bodies()))
        file.flush()
        rounds = [[per_second(arguments, file.name, set(cores[:n])) for n in (1, 2)] for _ in range(arguments.rounds)]
    ratios = [two / one for one, two in rounds]
    figures = {"one": statistics.median(one for one, _ in rounds), "two": statistics.median(two for _, two in rounds),
               "ratio": statistics.median(ratios), "ratio_lowest": min(ratios), "ratio_highest": max(ratios)}
    print("| one core, items a second | two cores | ratio |\n| --- | --- | --- |\n"
          f"| {figures['one']:.1f} | {figures['two']:.1f} | "
          f"{figures['ratio']:.2f} ({figures['ratio_lowest']:.2f} to {figures['ratio_highest']:.2f}) |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

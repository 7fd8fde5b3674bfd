#!/usr/bin/env python3
"""What a second core adds: a worker on it, or its help to the only one.

    bench/scaling.py [--rounds 5] [--seconds 3] [--json FILE]

bench_library embeds the JPEG photographs of examples/ with their captions, on the first core and on the first
two by turns. First table: many items at once, one worker a core, items a second. Second table: one item at a
time, whose passes one core does alone or two share (--threads-per-worker 2), milliseconds. The ratio is that
of each round: its median, and in brackets its range. `cmake --build build/release --target bench_library`.
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


def bodies(sides):
    """Requests for /v1/fused/embeddings, one an item, with these sides of each."""
    for line in (ROOT / "examples/items.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        photo = ROOT / "examples" / item["image"]
        if photo.suffix == ".jpg":
            data = base64.b64encode(photo.read_bytes()).decode()
            whole = {"image": f"data:image/jpeg;base64,{data}", "text": item["text"]}
            yield json.dumps({"items": [{side: whole[side] for side in sides}]})


def per_second(arguments, sides, cores, *options):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.write("".join(f"{body}\n" for body in bodies(sides)))
        file.flush()
        done = subprocess.run(
            [arguments.build / "bench_library", "--model", arguments.model, "--bodies", file.name,
             "--seconds", str(arguments.seconds), "--warm-seconds", "1", *options],
            check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, cores))
    return json.loads(done.stdout)["per_second"]


def figures(rounds):
    """Of rounds of items a second on one core and on two."""
    ratios = [two / one for one, two in rounds]
    return {"one": statistics.median(one for one, _ in rounds), "two": statistics.median(two for _, two in rounds),
            "ratio": statistics.median(ratios), "ratio_lowest": min(ratios), "ratio_highest": max(ratios)}


def ratio(found):
    return f"{found['ratio']:.2f} ({found['ratio_lowest']:.2f} to {found['ratio_highest']:.2f})"


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

    def measured(sides, one, two):
        return figures([[per_second(arguments, sides, set(cores[:1]), *one),
                         per_second(arguments, sides, set(cores[:2]), *two)] for _ in range(arguments.rounds)])

    many = measured(("image", "text"), ("--at-once", "16"), ("--at-once", "16"))
    print("| items a second, many at once | one core | two, a worker on each | ratio |\n| --- | --- | --- | --- |\n"
          f"| photograph and caption | {many['one']:.1f} | {many['two']:.1f} | {ratio(many)} |\n")
    print("| milliseconds, one at a time | one core | two that share | ratio |\n| --- | --- | --- | --- |")
    shared = {}
    for name, sides in {"photograph": ("image",), "caption": ("text",),
                        "photograph and caption": ("image", "text")}.items():
        found = shared[name] = measured(sides, ("--at-once", "1"), ("--at-once", "1", "--threads-per-worker", "2"))
        print(f"| {name} | {1000 / found['one']:.1f} | {1000 / found['two']:.1f} | {ratio(found)} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"many": many, "shared": shared}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

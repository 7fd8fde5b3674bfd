"""Twelve classes of flowers: EfficientNet-Lite0 of the default bundle, frozen and fine-tuned.

    bench/flowers.py                     trains on the 720 pictures, measures on the 120 of val.jsonl
    bench/flowers.py --cross-validate    only on the 720: five times four fifths against the fifth

Settings are to be chosen by the second; val.jsonl chooses nothing: where a run needs a validation set,
it takes a part of the training set. The pictures are Oxford's 102 flowers, not shipped: --data names a
directory with train.jsonl, val.jsonl and flowers12.tar.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / os.environ.get("BIFOCAL_BUILD_DIR", "build/release") / "bifocal"
RECIPES = {
    "frozen": ["--preset", "classify"],
    "fine-tuned": ["--preset", "finetune-image"],
}


def bifocal(*arguments: object) -> str:
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout


def best_metric(log: Path) -> float:
    lines = map(json.loads, log.read_text().splitlines())
    return max(line["metrics"]["accuracy"] for line in lines if line["event"] == "evaluation")


def train(data: Path, out: Path, *arguments: object) -> float:
    """Minutes that it took."""
    began = time.monotonic()
    bifocal("train", "--data", data, "--out", out, *arguments)
    return (time.monotonic() - began) / 60


def cross_validate(data: Path, directory: Path, names: list[str], more: list[str]) -> None:
    for name in names:
        found: dict[str, list[float]] = {}
        minutes = 0.0
        for fold in range(1, 6):
            out = directory / f"{name} {fold}"
            minutes += train(
                data / "train.jsonl", out, *RECIPES[name], "--validation-share", 0.2, "--seed", fold,
                "--cache", directory / "cache", *more,
            )  # fmt: skip
            for phase in ("class-head", "fine-tuning"):
                log = out.with_name(out.name + ".training") / phase / "metrics.jsonl"
                if log.exists():
                    found.setdefault(phase, []).append(best_metric(log))
        for phase, values in found.items():
            print(f"{name}, {phase}: {mean(values):.1f} +- {stdev(values):.1f} of five, {minutes:.1f} minutes in all")


def measure(data: Path, directory: Path, names: list[str], more: list[str]) -> None:
    for name in names:
        minutes = train(data / "train.jsonl", directory / name, *RECIPES[name], *more)
        figures = json.loads(
            bifocal("evaluate", "--model", directory / name, "--data", data / "val.jsonl", "--task", "classes", "--json", "-")
        )
        top = figures["tasks"]["classes"]["rows"]["fused"]["top-1"]
        print(f"{name}: top-1 {top['value']:.1f} ({top['low']:.1f} to {top['high']:.1f}), {minutes:.1f} minutes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "flowers12")
    parser.add_argument("--cross-validate", action="store_true")
    parser.add_argument("--recipe", choices=RECIPES, action="append", help="both, if not given")
    given, more = parser.parse_known_args()  # what else there is goes to bifocal train
    with tempfile.TemporaryDirectory() as directory:
        run = cross_validate if given.cross_validate else measure
        run(given.data, Path(directory), given.recipe or list(RECIPES), more)


if __name__ == "__main__":
    main()

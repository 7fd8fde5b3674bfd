"""Embeds the photographs and captions of examples/ and prints what lies near what.

Everything is done by the command line, as anyone would call it; this only writes its input, reads
its output and sorts by similarity. Standard library alone.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
OUT = ROOT / "build" / "demo"
BIFOCAL = ROOT / "build" / "release" / "bifocal"

Vector = list[float]


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def similarity(a: Vector, b: Vector) -> float:
    """Their cosine: every vector has length 1."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def nearest(query: Vector, gallery: dict[str, Vector], count: int) -> list[tuple[float, str]]:
    scores = ((similarity(query, vector), name) for name, vector in gallery.items())
    return sorted(scores, reverse=True)[:count]


def shown(command: list[str | Path]) -> str:
    words = [str(word.relative_to(ROOT) if isinstance(word, Path) else word) for word in command]
    return "$ " + " ".join(words)


def embed(records: list[dict], side: str, name: str) -> dict[str, Vector]:
    """Runs `bifocal embed` and returns the vector of each id."""
    items, vectors = OUT / f"{name}.items.jsonl", OUT / f"{name}.jsonl"
    items.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    command = [BIFOCAL, "embed", "--quiet", "--input", items, "--as", side, "--output", vectors]
    print(shown(command), flush=True)
    subprocess.run(command, check=True, cwd=ROOT)
    return {record["id"]: record["embedding"] for record in read_lines(vectors)}


def print_best_captions(images: dict[str, Vector], captions: dict[str, Vector]) -> None:
    print("\nEach photograph, and the three captions nearest to it (cosine; 1 is the same direction)\n")
    print(f"  {'photograph':<14}{'cosine':>6}  caption")
    print(f"  {'-' * 12:<14}{'-' * 6:>6}  {'-' * 52}")
    for name, vector in images.items():
        for place, (score, caption) in enumerate(nearest(vector, captions, 3)):
            print(f"  {name if place == 0 else '':<14}{score:6.2f}  {caption}")
        print()


def print_neighbours(
    item: dict, fused: Vector, images: dict[str, Vector], captions: dict[str, Vector]
) -> None:
    print(f"One fused item: the photograph '{item['id']}' together with \"{item['text']}\"\n")
    for kind, gallery in (("photographs", images), ("captions", captions)):
        print(f"  nearest {kind}")
        for score, name in nearest(fused, gallery, 4):
            print(f"    {score:6.2f}  {name}")
    numbers = ", ".join(f"{value:.4f}" for value in fused[:6])
    print(f"\n  its vector: {len(fused)} numbers, [{numbers}, ...]")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    items = [
        {**item, "image": str(EXAMPLES / item["image"])}
        for item in read_lines(EXAMPLES / "items.jsonl")
    ]
    lines = (EXAMPLES / "captions.txt").read_text(encoding="utf-8").splitlines()

    began = time.monotonic()
    images = embed([{"id": i["id"], "image": i["image"]} for i in items], "image", "photographs")
    captions = embed([{"id": line, "text": line} for line in lines], "text", "captions")
    fused = embed(items, "fused", "fused")
    seconds = time.monotonic() - began

    print_best_captions(images, captions)
    example = next(item for item in items if item["id"] == "coffee")
    print_neighbours(example, fused[example["id"]], images, captions)
    counts = f"{len(images)} photographs, {len(captions)} captions and {len(fused)} pairs"
    print(f"\n{counts} in {seconds:.1f} s, three starts of the program included.")
    print("The vectors, one JSON object a line:")
    print("  build/demo/photographs.jsonl  build/demo/captions.jsonl  build/demo/fused.jsonl")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"demo: the command above failed (exit status {error.returncode})")

#!/usr/bin/env python3
"""Retrieval quality of a bundle on image-caption pairs, beside the same weights run in Python.

    bench/retrieval.py --data ../shared/data/flickr8k --split dev [--limit 200] [--reference] [--bf16] [--int8]

Prints R@1/5/10 in both directions, and the R@1 of a fused query (image and first caption) against
each side alone, with a gallery of the other captions. --reference computes the same numbers with
transformers, efficientnet_lite_pytorch, Pillow and a PyTorch fusion layer (tests/parity), and exits
with 1 where a figure differs by more than 0.5 points. --bf16 and --int8 compute them in bfloat16 and in
8-bit integers too, on a CPU without instructions for it by the portable kernels, and print how near the
vectors are.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
INSTRUCTIONS = {"bf16": "avx512_bf16", "int8": "avx512_vnni"}


def read_pairs(data, split, limit):
    with open(data / f"{split}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines][:limit]


def extract_images(data, split, pairs, folder):
    wanted = {pair["image"] for pair in pairs}
    with tarfile.open(data / f"{split}.tar") as archive:
        archive.extractall(folder, (m for m in archive if m.name in wanted), filter="data")


def embed(binary, model, items, folder, name, precision):
    """Vectors of items by the CLI, [len(items), e]."""
    source, target = folder / f"{name}.jsonl", folder / f"{name}.npy"
    source.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    command = [binary, "embed", "--input", source, "--output", target, "--precision", precision]
    environment = dict(os.environ)
    if INSTRUCTIONS.get(precision, "") not in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        environment["BIFOCAL_KERNELS"] = "portable"
    subprocess.run(command + (["--model", model] if model else []), check=True, env=environment)
    return np.load(target)


def our_vectors(arguments, pairs, folder, precision):
    def run(name, items):
        return embed(arguments.binary, arguments.model, items, folder, f"{precision}-{name}", precision)

    return {
        "image": run("images", [{"image": pair["image"]} for pair in pairs]),
        "text": run("texts", [{"text": caption} for pair in pairs for caption in pair["captions"]]),
        "fused": run("fused", [{"image": pair["image"], "text": pair["captions"][0]} for pair in pairs]),
    }


def recalls(scores, relevant):
    """Percentage of rows whose best relevant column ranks within 1, 5, 10."""
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    ranks = (np.where(relevant, -np.inf, scores) > best).sum(axis=1)
    return {k: 100.0 * float((ranks < k).mean()) for k in (1, 5, 10)}


def figures(vectors, owner, first):
    """owner[j]: the image of caption j; first[i]: the index of image i's first caption."""
    count = len(vectors["image"])
    relevant = owner[None, :] == np.arange(count)[:, None]
    similarity = vectors["image"] @ vectors["text"].T
    table = {}
    for k, value in recalls(similarity, relevant).items():
        table[f"image to text R@{k}"] = value
    for k, value in recalls(similarity.T, relevant.T).items():
        table[f"text to image R@{k}"] = value
    others = np.ones(len(owner), bool)
    others[first] = False
    gallery, relevant = vectors["text"][others], relevant[:, others]
    mean = vectors["image"] + vectors["text"][first]
    for name, query in (("image alone", vectors["image"]), ("caption alone", vectors["text"][first]),
                        ("mean of the two", mean), ("fused", vectors["fused"])):
        table[f"other captions by {name} R@1"] = recalls(query @ gallery.T, relevant)[1]
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/data/flickr8k")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build/release/bifocal")
    parser.add_argument("--model", type=pathlib.Path, help="a bundle; default: the default bundle")
    parser.add_argument("--reference", action="store_true", help="compare with Python on the same weights")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 too")
    parser.add_argument("--int8", action="store_true", help="compute in 8-bit integers too")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"{arguments.data} is absent: name a directory with {arguments.split}.jsonl and .tar in --data")

    pairs = read_pairs(arguments.data, arguments.split, arguments.limit)
    counts = [len(pair["captions"]) for pair in pairs]
    owner = np.repeat(np.arange(len(pairs)), counts)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        extract_images(arguments.data, arguments.split, pairs, folder)
        ours = our_vectors(arguments, pairs, folder, "fp32")
        table = {"bifocal": figures(ours, owner, first)}
        narrow = {precision: our_vectors(arguments, pairs, folder, precision)
                  for precision in INSTRUCTIONS if getattr(arguments, precision)}
        for precision, vectors in narrow.items():
            table[precision] = figures(vectors, owner, first)
        if arguments.reference:
            sys.path.insert(0, str(ROOT / "tests/parity"))
            from reference_pipeline import reference_vectors
            bundle = arguments.model or ROOT / "build/bundles/default"
            table["python"] = figures(reference_vectors(bundle, pairs, folder), owner, first)

    if arguments.json:
        print(json.dumps({"images": len(pairs), "captions": len(owner), **table}, indent=1))
    else:
        print(f"{len(pairs)} images, {len(owner)} captions")
        print(f"{'':42}" + "".join(f"{name:>9}" for name in table))
        for row in table["bifocal"]:
            print(f"{row:42}" + "".join(f"{column[row]:9.1f}" for column in table.values()))
        for precision, vectors in narrow.items():
            for name in ours:
                cosines = (ours[name] * vectors[name]).sum(axis=1)  # of vectors of length 1
                print(f"cosine of {name} in fp32 and {precision}: least {cosines.min():.5f}, "
                      f"mean {cosines.mean():.5f}, under 0.999 {(cosines < 0.999).sum()} of {len(cosines)}")
    if arguments.reference:
        worst = max(abs(table["bifocal"][row] - table["python"][row]) for row in table["python"])
        print(f"largest difference: {worst:.2f} points")
        sys.exit(1 if worst > 0.5 else 0)


if __name__ == "__main__":
    main()

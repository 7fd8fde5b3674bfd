#!/usr/bin/env python3
"""Top-1 and top-5 of EfficientNet-Lite0 on 200 ImageNet photographs, beside another implementation.

    bench/imagenet_sample.py --data ../shared/data/imagenet_sample

Ours: decoding, resizing, normalising and the compiled encoder, through bench_imagenet_sample. The
other: Pillow and efficientnet_lite_pytorch, on the same weights. Both resize the shortest edge to 256,
bicubic, crop the central 224 and take (x - 127) / 128. Ours computes in fp32 and then in bf16, on a CPU
without instructions for it by the portable kernels, which are slow. Exits with 1 where
a count differs from the reference's by more than one photograph.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def our_top5(binary, vision, precision, paths):
    listing = "".join(f"{path}\n" for path in paths)
    environment = dict(os.environ)
    if precision == "bf16" and "avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        environment["BIFOCAL_KERNELS"] = "portable"
    done = subprocess.run([binary, vision, precision], input=listing, capture_output=True, text=True, check=False,
                          env=environment)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return [json.loads(line)["top5"] for line in done.stdout.splitlines()]


def reference_top5(vision, paths):
    import numpy as np
    import torch
    from efficientnet_lite_pytorch import EfficientNet
    from PIL import Image
    from safetensors.torch import load_file

    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(load_file(vision / "model.safetensors"), strict=False)
    model.eval()

    def pixels(path):
        image = Image.open(path).convert("RGB")
        scale = 256 / min(image.size)
        width, height = (256 if side == min(image.size) else int(side * scale) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        # Rounded down, as the converted preprocessor_config.json asks. torchvision rounds half a pixel
        # to even, which shifts the crop of every other odd margin by one pixel.
        left, top = (width - 224) // 2, (height - 224) // 2
        crop = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32)
        return torch.from_numpy((crop - 127) / 128).permute(2, 0, 1)[None]

    with torch.inference_mode():
        return [model(pixels(path))[0].topk(5).indices.tolist() for path in paths]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/data/imagenet_sample")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--limit", type=int, help="only the first so many photographs")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"{arguments.data} is absent: name a directory with labels.jsonl and images.tar in --data")
    binary = arguments.build / "bench/bench_imagenet_sample"
    if not binary.is_file():
        sys.exit(f"{binary} is not there: build it with `cmake --build {arguments.build} --target {binary.name}`")
    sys.path.insert(0, str(ROOT / "tools"))
    from convert_efficientnet_lite import convert

    lines = (arguments.data / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    labels = [json.loads(line) for line in lines][: arguments.limit]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with tarfile.open(arguments.data / "images.tar") as archive:
            archive.extractall(folder / "photos", filter="data")
        paths = [folder / "photos" / label["image"] for label in labels]
        convert(folder / "vision")
        found = {
            **{f"bifocal, {each}": our_top5(binary, folder / "vision", each, paths) for each in ("fp32", "bf16")},
            "efficientnet_lite_pytorch with Pillow": reference_top5(folder / "vision", paths),
        }
    right = {
        name: [sum(label["index"] in top[:k] for label, top in zip(labels, tops, strict=True)) for k in (1, 5)]
        for name, tops in found.items()
    }
    print(f"EfficientNet-Lite0, {len(labels)} photographs")
    for name, counts in right.items():
        percent = "  ".join(f"top-{k} {100 * n / len(labels):5.1f} ({n})" for k, n in zip((1, 5), counts))
        print(f"{name:40}{percent}")
    *ours, theirs = found
    for name in ours:
        same = sum(a == b for a, b in zip(found[name], found[theirs]))
        print(f"{name}: the same five classes in the same order as the reference in {same}")
    apart = max(abs(a - b) for name in ours for a, b in zip(right[name], right[theirs]))
    sys.exit(1 if apart > 1 else 0)


if __name__ == "__main__":
    main()

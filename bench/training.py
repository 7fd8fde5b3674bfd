#!/usr/bin/env python3
"""Fine-tuning beside a PyTorch script that does the same work on the same cores.

    bench/training.py [--pictures 96] [--epochs 2]

Both train EfficientNet-Lite0 of the default bundle whole, batch norms frozen, batches of 16 JPEGs of 500
x 375 that are decoded, cropped at random to 224 x 224, mirrored and jittered in colour while the batch
before trains: `bifocal train` on its threads, PyTorch's DataLoader in a process a core with Pillow.
Prints pictures a second, their ratio, and the peak of the memory of all processes (proportional set
size).
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / os.environ.get("BIFOCAL_BUILD_DIR", "build/release") / "bifocal"
BUNDLE = ROOT / "build" / "bundles" / "default"
BATCH = 16


def draw_pictures(folder: Path, count: int) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(1)
    y, x = np.mgrid[:375, :500]
    for i in range(count):
        waves = [128 + 90 * np.sin(x / rng.uniform(5, 60)) * np.cos(y / rng.uniform(5, 60)) for _ in range(3)]
        pixels = np.clip(np.stack(waves, -1) + rng.normal(0, 10, (375, 500, 3)), 0, 255).astype(np.uint8)
        path = folder / ("odd" if i % 2 else "even") / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def memory_of(group: int) -> int:
    """Bytes of the processes of a group, shared pages divided among them."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.getpgid(int(entry.name)) != group:
                continue
            for line in (entry / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += 1024 * int(line.split()[1])
        except OSError:  # it has ended
            continue
    return total


def run(command: list[object]) -> tuple[str, int]:
    """Standard output, and the peak of the memory."""
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, errors = process.communicate()
    watcher.join()
    if process.returncode != 0:
        sys.exit(errors)
    return output, peak


def ours(pictures: Path, directory: Path, epochs: int) -> tuple[float, int]:
    _, peak = run(
        [
            *(PROGRAM, "train", "--preset", "finetune-image", "--data", pictures, "--out", directory / "made"),
            *("--from-bundle", BUNDLE, "--epochs", epochs, "--batch-size", BATCH, "--pooled-epochs", 1),
            *("--validation-share", 0.05, "--evaluate-every", 1000, "--checkpoint-every", 0, "--log-every", 1),
        ]
    )
    log = directory / "made.training" / "fine-tuning" / "metrics.jsonl"
    steps = [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "step"]
    return steps[-1]["items_per_second"], peak


def reference(pictures: Path, epochs: int) -> None:
    """The PyTorch script: prints pictures a second."""
    import numpy as np
    import torch
    from efficientnet_lite_pytorch import EfficientNet
    from PIL import Image, ImageEnhance

    class Pictures(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.paths = sorted(pictures.glob("*/*.jpg"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image = Image.open(self.paths[index]).convert("RGB")
            area = image.width * image.height * random.uniform(0.4, 1)
            ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
            width = min(round(math.sqrt(area * ratio)), image.width)
            height = min(round(math.sqrt(area / ratio)), image.height)
            left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
            image = image.resize((224, 224), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
            if random.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = kind(image).enhance(random.uniform(0.8, 1.2))
            pixels = (np.asarray(image, dtype=np.float32) / 255 - 0.498) / 0.502
            return torch.from_numpy(pixels.transpose(2, 0, 1)), index % 2

    class TwoClasses(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = EfficientNet.from_name("efficientnet-lite0")
            self.head = torch.nn.Linear(1280, 2)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.head(self.tower.extract_features(pixels).mean((2, 3)))

    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    model = TwoClasses().to(memory_format=torch.channels_last).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    loader = torch.utils.data.DataLoader(
        Pictures(), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=cores, persistent_workers=True
    )
    began, done = time.monotonic(), 0
    for _ in range(epochs):
        for pixels, labels in loader:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            loss = torch.nn.functional.cross_entropy(model(pixels), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            done += len(labels)
    print(done / (time.monotonic() - began))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reference:
        return reference(given.reference, given.epochs)
    with tempfile.TemporaryDirectory() as directory:
        pictures = Path(directory) / "pictures"
        pictures.mkdir()
        draw_pictures(pictures, given.pictures)
        our_rate, our_peak = ours(pictures, Path(directory), given.epochs)
        printed, their_peak = run([sys.executable, __file__, "--reference", pictures, "--epochs", given.epochs])
    their_rate = float(printed)
    print(f"bifocal train   {our_rate:6.2f} pictures a second, {our_peak / 1e6:6.0f} MB")
    print(f"PyTorch script  {their_rate:6.2f} pictures a second, {their_peak / 1e6:6.0f} MB")
    print(f"ratio           {our_rate / their_rate:6.2f}")


if __name__ == "__main__":
    main()

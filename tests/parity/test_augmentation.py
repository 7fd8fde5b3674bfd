"""The operations that augmentation is made of beside Pillow's, to the bit."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from safetensors.numpy import load_file, save_file

FILL = (1, 2, 3)


def hue(image: Image.Image, turns: float) -> Image.Image:
    """torchvision.transforms.functional.adjust_hue on a Pillow image, as its source has it."""
    h, s, v = image.convert("HSV").split()
    values = np.array(h, dtype=np.uint8)
    values += np.int32(turns * 255).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(values), s, v)).convert("RGB")


def rotate(resample: Image.Resampling):
    return lambda image, degrees: image.rotate(degrees, resample, fillcolor=FILL)


OPERATIONS = {
    "brightness": (lambda image, x: ImageEnhance.Brightness(image).enhance(x), (0.0, 0.4, 0.93, 1.0, 1.7)),
    "contrast": (lambda image, x: ImageEnhance.Contrast(image).enhance(x), (0.0, 0.4, 0.93, 1.0, 1.7)),
    "saturation": (lambda image, x: ImageEnhance.Color(image).enhance(x), (0.0, 0.4, 0.93, 1.0, 1.7)),
    "sharpness": (lambda image, x: ImageEnhance.Sharpness(image).enhance(x), (0.1, 0.93, 1.0, 1.9)),
    "hue": (hue, (-0.5, -0.13, 0.0, 0.08, 0.5)),
    "autocontrast": (lambda image, _: ImageOps.autocontrast(image), (0,)),
    "equalize": (lambda image, _: ImageOps.equalize(image), (0,)),
    "invert": (lambda image, _: ImageOps.invert(image), (0,)),
    "flip": (lambda image, _: ImageOps.mirror(image), (0,)),
    "posterize": (lambda image, x: ImageOps.posterize(image, int(x)), (1, 3, 6, 8)),
    "solarize": (lambda image, x: ImageOps.solarize(image, int(x)), (0, 77, 128, 256)),
    "rotate_nearest": (rotate(Image.Resampling.NEAREST), (-33.5, -8.0, 0.0, 12.25, 90.0)),
    "rotate_bilinear": (rotate(Image.Resampling.BILINEAR), (-33.5, -8.0, 0.0, 12.25, 90.0)),
    "rotate_bicubic": (rotate(Image.Resampling.BICUBIC), (-33.5, -8.0, 0.0, 12.25, 90.0)),
}


def picture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Smooth, with an edge and noise."""
    y, x = np.mgrid[:height, :width]
    channels = [128 + 90 * np.sin(x / rng.uniform(3, 20)) * np.cos(y / rng.uniform(3, 20)) for _ in range(3)]
    pixels = np.stack(channels, -1) + rng.normal(0, 12, (height, width, 3))
    pixels[: height // 3, : width // 2] *= 0.4
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_is_pillows(operation, run_probe, tmp_path):
    rng = np.random.default_rng(list(OPERATIONS).index(operation))
    reference, numbers = OPERATIONS[operation]
    pictures = [picture(rng, *size) for size in ((61, 40), (40, 61), (32, 32), (1, 9), (5, 3))]
    pictures.append(np.full((20, 30, 3), 77, np.uint8))
    named = {f"{i}/{operation}/{x}": pixels for i, pixels in enumerate(pictures) for x in numbers}
    save_file(named, tmp_path / "in.safetensors")
    run_probe("augmentation", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    for name, pixels in named.items():
        expected = np.asarray(reference(Image.fromarray(pixels), float(name.rpartition("/")[2])))
        np.testing.assert_array_equal(found[name], expected, err_msg=f"{name} of {pixels.shape}")

"""The weights of models/v2-b0, joined to the EfficientNetV2-B0 that users get from a hub."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, json_lines, write_json_lines


@pytest.fixture(scope="module")
def bundle(run: Run, shared_data: Path, default_bundle: Path, source_dir: Path, tmp_path_factory) -> Path:
    """As the card says; MiniLM out of the default bundle has tuned layers, which the delta replaces."""
    weights = shared_data / "efficientnetv2_b0" / "model.safetensors"
    if not weights.is_file():
        pytest.skip(f"{weights} is absent")
    folder = tmp_path_factory.mktemp("v2-b0")
    encoder = folder / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text('{"architecture": "tf_efficientnetv2_b0"}')
    shutil.copy(weights, encoder)
    model = source_dir / "models" / "v2-b0"
    run(
        "bundle", "--vision", encoder, "--vision-delta", model / "vision_delta.safetensors",
        "--preprocessor", model / "preprocessor_config.json", "--text", default_bundle / "text",
        "--text-delta", model / "text_delta.safetensors", "--fusion", model, "--card", model / "README.md",
        "--out", folder / "bundle",
    )  # fmt: skip
    return folder / "bundle"


def test_the_card_is_shown_with_its_quality(run: Run, bundle: Path) -> None:
    (shown,) = json_lines(run("inspect", "--model", bundle, "--json").stdout)
    assert shown["licence"] == "research-use"
    assert shown["quality"].startswith("Measured with")
    parts = {part["name"]: part for part in shown["parts"]}
    assert parts["vision"]["architecture"] == "efficientnetv2-b0"


def test_photographs_find_their_captions(run: Run, bundle: Path, source_dir: Path, tmp_path: Path) -> None:
    items = [json.loads(line) for line in (source_dir / "examples" / "items.jsonl").read_text().splitlines()]

    def embedded(name: str, records: list[dict]) -> np.ndarray:
        table = write_json_lines(tmp_path / f"{name}.jsonl", records)
        run("embed", "--model", bundle, "--input", table, "--output", tmp_path / f"{name}.npy")
        return np.load(tmp_path / f"{name}.npy")

    images = embedded("images", [{"image": str(source_dir / "examples" / item["image"])} for item in items])
    texts = embedded("texts", [{"text": item["text"]} for item in items])
    scores = images @ texts.T
    found = (scores.argmax(1) == np.arange(len(items))).sum()
    assert found >= len(items) - 2, scores.round(2)

"""`bifocal evaluate` on photographs and captions of our own."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, one_vector, write_json_lines

CAPTIONS = {
    "cat": ["The face of a cat with green eyes", "A kitten looks to the side"],
    "coffee": ["A cup of coffee on a red saucer", "An espresso with a spoon on a wooden table"],
    "rocket": ["A rocket stands on its launch pad at dusk", "A rocket before its start"],
}


@pytest.fixture
def pairs(tmp_path: Path, photos: Path) -> Path:
    records: list[dict | str] = [
        {
            "image": str(next(photos.glob(f"{name}.*"))),
            "captions": captions,
            "contrasts": [{"kind": "thing", "true": captions[0], "false": "A plate of soup"}],
        }
        for name, captions in CAPTIONS.items()
    ]
    return write_json_lines(tmp_path / "pairs.jsonl", [*records, {"image": "gone.jpg"}, "{broken"])


def test_figures_agree_with_the_vectors_of_embed(run: Run, pairs: Path, photos: Path, tmp_path: Path) -> None:
    done = run("evaluate", "--data", pairs, "--max-skipped", "0.5", "--json", tmp_path / "f.json", "--resamples", "50")
    for part in ("Retrieval: 3 images, 6 texts", "Match:", "Fused query", "Contrasts"):
        assert part in done.stdout
    assert "2 records were skipped" in done.stderr
    assert "pairs.jsonl:4: there is no image" in done.stderr
    assert "pairs.jsonl:5: is not JSON" in done.stderr
    figures = json.loads((tmp_path / "f.json").read_text())
    assert len(figures["skipped"]) == 2
    assert figures["data"]["images"] == 3

    images, texts = [], []
    for name, captions in CAPTIONS.items():
        images.append(one_vector(run("embed", "--image", next(photos.glob(f"{name}.*"))).stdout))
        texts += [one_vector(run("embed", "--text", caption).stdout) for caption in captions]
    scores = np.array(images) @ np.array(texts).T
    right = 100 * np.mean(scores.argmax(1) // 2 == np.arange(3))
    recall = figures["tasks"]["retrieval"]["rows"]["image to text"]["R@1"]
    assert recall["value"] == pytest.approx(right)
    assert recall["low"] <= recall["value"] <= recall["high"]


def test_json_alone_goes_to_standard_output(run: Run, pairs: Path) -> None:
    done = run(
        "evaluate", "--data", pairs, "--max-skipped", "0.5", "--task", "fused", "--json", "-", "--resamples", "0"
    )  # fmt: skip
    assert list(json.loads(done.stdout)["tasks"]) == ["fused"]


def test_what_cannot_be_measured_is_said(run: Run, pairs: Path, tmp_path: Path) -> None:
    assert "2 of 5" in run("evaluate", "--data", pairs, code=65).stderr
    done = run("evaluate", "--data", pairs, "--max-skipped", "0.5", "--task", "classes", code=64)
    assert "no label set" in done.stderr
    assert "not one of" in run("evaluate", "--data", pairs, "--task", "nothing", code=64).stderr
    run("evaluate", "--data", tmp_path / "absent.jsonl", code=66)

"""docs/classifiers.md: from a folder of photographs to a served classifier, as it is written there."""

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "stripes")


def draw(shape: str, rng: np.random.Generator) -> Image.Image:
    """The shape somewhere, of some size, in some colours."""
    ground, colour = (tuple(int(x) for x in rng.integers(low, low + 110, 3)) for low in (20, 140))
    image = Image.new("RGB", (160, 120), ground)
    pen = ImageDraw.Draw(image)
    x, y, side = rng.integers(5, 60), rng.integers(5, 30), rng.integers(50, 85)
    if shape == "circle":
        pen.ellipse((x, y, x + side, y + side), fill=colour)
    elif shape == "square":
        pen.rectangle((x, y, x + side, y + side), fill=colour)
    else:
        for left in range(int(x) % 16, 160, 16):
            pen.rectangle((left, 0, left + 7, 119), fill=colour)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the document begins with: photos/, held-out/ and new.jpg."""
    directory = tmp_path_factory.mktemp("classifier")
    rng = np.random.default_rng(8)
    for part, count in (("photos", 20), ("held-out", 6)):
        for shape in SHAPES:
            (directory / part / shape).mkdir(parents=True)
            for i in range(count):
                draw(shape, rng).save(directory / part / shape / f"{i}.jpg", quality=90)
    draw("stripes", rng).save(directory / "new.jpg")
    return directory


def commands(source_dir: Path) -> list[str]:
    """Those of the first block of the document, comments taken off."""
    text = (source_dir / "docs" / "classifiers.md").read_text(encoding="utf-8")
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block
    return [re.sub(r"\s+# .*", "", line) for line in block[1].splitlines()]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_five_commands_make_and_serve_a_classifier(
    source_dir: Path, bifocal: Path, default_bundle: Path, folder: Path, environment: dict[str, str]
) -> None:
    lines = commands(source_dir)
    assert len(lines) == 5
    script = "\n".join(lines).replace("8080", str(free_port()))
    path = f"{bifocal.parent}{os.pathsep}{environment.get('PATH', '')}"
    done = subprocess.run(
        ["bash", "-eu", "-c", f"trap 'kill $(jobs -p)' EXIT\n{script}"],
        cwd=folder, env=environment | {"PATH": path},
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = (folder / "mine" / "README.md").read_text(encoding="utf-8")
    assert "3 labels" in card
    assert "| trained on `photos` | 54 | 54 | 0 | 0 |" in card

    found = re.search(r"fused +18\.0 +(\d+\.\d)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) >= 60, "a guess is right in 33 of 100"
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    on_the_command_line, served = answers[0], answers[-1]["data"][0]
    for answer in (on_the_command_line, served):
        assert answer["scores"][0]["label"] == "stripes"
    assert served["scores"][0]["score"] == pytest.approx(on_the_command_line["scores"][0]["score"], abs=1e-4)

    report = (folder / "mine.training" / "report.html").read_text(encoding="utf-8")
    for part in ("Confusion matrix", "Each class", "Calibration", "fine-tuning", "class head"):
        assert part in report
    assert not re.search(r"<script|<link|https?://", report)
    lines = (folder / "mine.training" / "report.jsonl").read_text(encoding="utf-8").splitlines()
    events = {json.loads(line)["event"] for line in lines}
    assert {"step", "evaluation", "figures", "calibration"} <= events


def test_the_command_line_refuses_what_it_cannot_train(run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    done = run("train", "--preset", "classify", "--data", folder / "photos" / "circle", "--out", out, code=65)
    assert "two are needed" in done.stderr
    done = run("train", "--preset", "clasify", "--data", folder / "photos", "--out", out, code=64)
    assert 'preset is "clasify"; it takes retrieval, classify,' in done.stderr
    done = run(
        "train", "--preset", "finetune-image", "--data", folder / "photos", "--out", out, "--mixup", "-1", code=64
    )  # fmt: skip
    assert "it takes 0 to 100" in done.stderr

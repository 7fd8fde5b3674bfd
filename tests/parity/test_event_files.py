"""The event files of `bifocal train`, read back by TensorBoard's own reader."""

import json
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def trained(bifocal: Path, default_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a short run on texts."""
    directory = tmp_path_factory.mktemp("events")
    lines = ["text,label"]
    lines += [f"a {word} number {i},{kind}" for i in range(12) for word, kind in (("cat", "animal"), ("bus", "vehicle"))]
    (directory / "texts.csv").write_text("\n".join(lines) + "\n")
    subprocess.run(
        [
            *(bifocal, "train", "--preset", "classify", "--data", directory / "texts.csv"),
            *("--from-bundle", default_bundle, "--out", directory / "made"),
            *("--pooled-epochs", "4", "--pooled-batch-size", "8", "--log-every", "2"),
        ],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return directory / "made.training"


def test_tensorboard_reads_what_the_log_has(trained: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    found: dict[tuple[str, int], float] = {}
    for file in (trained / "events").iterdir():
        for event in loader.EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
                found[value.tag, event.step] = number
    expected: dict[tuple[str, int], float] = {}
    for line in map(json.loads, (trained / "class-head" / "metrics.jsonl").read_text().splitlines()):
        if line["event"] == "step":
            for key in ("loss", "learning_rate", "gradient_norm"):
                expected[f"class_head/{key}", line["step"]] = line[key]
        else:
            for name, value in line["metrics"].items():
                expected[f"class_head/validation/{name}", line["step"]] = value
    assert len(expected) > 20
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-6), key

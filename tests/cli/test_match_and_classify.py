"""bifocal match and bifocal classify."""

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, json_lines, one_vector, write_json_lines

CAPTION = "A smiling woman in an orange space suit"


def test_match_is_what_its_numbers_say(run: Run, photos: Path) -> None:
    image = photos / "astronaut.jpg"
    (result,) = json_lines(run("match", "--image", image, "--text", CAPTION).stdout)
    assert set(result) == {"id", "probability", "logit", "cosine"}
    assert result["probability"] == pytest.approx(1 / (1 + math.exp(-result["logit"])), rel=1e-5)
    of_image = one_vector(run("embed", "--image", image).stdout)
    of_text = one_vector(run("embed", "--text", CAPTION).stdout)
    assert result["cosine"] == pytest.approx(float(of_image @ of_text), abs=1e-5)


def test_match_tells_the_right_text_from_a_wrong_one(run: Run, photos: Path, tmp_path: Path) -> None:
    image = str(photos / "officer.jpg")
    path = write_json_lines(
        tmp_path / "pairs.jsonl",
        [
            {"id": "right", "image": image, "text": "An old woman in a navy uniform and glasses"},
            {"id": "one side", "image": image},
            {"id": "wrong", "image": image, "text": "Rows of old coins"},
        ],
    )
    done = run("match", "--input", path, "--provenance", code=65)
    right, lonely, wrong = json_lines(done.stdout)
    assert right["cosine"] > wrong["cosine"]
    assert right["probability"] > wrong["probability"]
    assert lonely["id"] == "one side"
    assert lonely["error"]["code"] == "invalid_item"
    assert right["provenance"]["side"] == "fused"


def test_match_needs_both_sides(run: Run, photos: Path) -> None:
    assert "both" in run("match", "--image", photos / "astronaut.jpg", code=65).stderr


def test_classify_without_a_label_set_says_so(run: Run) -> None:
    assert "no label set" in run("classify", "--text", "a", code=64).stderr


@pytest.fixture(scope="module")
def labelled(run: Run, default_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with two class heads whose weights are fresh from a seed."""
    directory = tmp_path_factory.mktemp("labelled")
    (directory / "colours.txt").write_text("red\ngreen\r\nblue\n\nblack")
    (directory / "sizes.txt").write_text("small\nlarge\n")
    run(
        "bundle", "--vision", default_bundle / "vision", "--text", default_bundle / "text",
        "--fusion-preset", "fusion-small", "--seed", "5", "--licence", "Apache-2.0",
        "--labels", f"colour={directory / 'colours.txt'}",
        "--labels", f"size={directory / 'sizes.txt'}",
        "--out", directory / "bundle",
    )  # fmt: skip
    return directory / "bundle"


def test_classify_gives_a_distribution(run: Run, labelled: Path, photos: Path, tmp_path: Path) -> None:
    image = str(photos / "coffee.webp")
    path = write_json_lines(
        tmp_path / "items.jsonl",
        [{"id": "a", "image": image, "text": "coins"}, {"id": "b"}, {"id": "c", "text": "coins"}],
    )
    arguments = ["classify", "--model", labelled, "--input", path, "--labels", "colour"]
    both, bad, text = json_lines(run(*arguments, "--top-k", "0", code=65).stdout)
    assert both["label_set"] == "colour"
    assert {score["label"] for score in both["scores"]} == {"red", "green", "blue", "black"}
    scores = [score["score"] for score in both["scores"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert bad["error"]["code"] == "invalid_item"
    assert text["scores"] != both["scores"]

    as_text, _, _ = json_lines(run(*arguments, "--top-k", "2", "--as", "text", code=65).stdout)
    assert len(as_text["scores"]) == 2
    np.testing.assert_allclose(
        [s["score"] for s in as_text["scores"]], [s["score"] for s in text["scores"]][:2], atol=1e-5
    )


def test_classify_names_the_label_sets_it_knows(run: Run, labelled: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.jsonl"
    arguments = ["classify", "--model", labelled, "--text", "a", "--output", output]
    for labels in ([], ["--labels", "shape"]):
        complaint = run(*arguments, *labels, code=64).stderr
        assert "colour" in complaint
        assert "size" in complaint
    assert not output.exists()

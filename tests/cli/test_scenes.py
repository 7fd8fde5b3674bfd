"""`bifocal scenes`, and the contrasts that it draws, measured beside controls."""

import json
from pathlib import Path

from conftest import Run

KINDS = {"presence", "count", "same colour", "side", "left", "above"}


def test_scenes_are_a_function_of_their_seed_and_can_be_measured(run: Run, tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        run("scenes", "--out", tmp_path / name, "--count", "24", "--seed", seed)
    for file in ("train.jsonl", "train.tar", "test.tar"):
        one, again, other = ((tmp_path / name / file).read_bytes() for name in ("one", "again", "other"))
        assert one == again
        assert one != other
    records = [json.loads(line) for line in (tmp_path / "one" / "train.jsonl").read_text().splitlines()]
    assert len(records) == 24
    assert {contrast["kind"] for record in records for contrast in record["contrasts"]} == KINDS
    for record in records:
        assert all(contrast["true"] != contrast["false"] for contrast in record["contrasts"])

    done = run(
        "evaluate", "--data", tmp_path / "one", "--split", "train", "--task", "contrasts", "--resamples", "20",
        "--controls", tmp_path / "one" / "train.jsonl", "--json", tmp_path / "figures.json",
    )  # fmt: skip
    rows = json.loads((tmp_path / "figures.json").read_text())["tasks"]["contrasts"]["rows"]
    assert set(rows) == KINDS | {"all"}
    # Both texts of a pair get one score from the picture alone.
    assert rows["all"]["image alone"] == 50 or rows["all"]["image alone"]["value"] == 50
    for control in ("text alone", "two towers", "pooled MLP"):
        assert control in done.stdout


def test_a_small_fusion_layer_learns_which_colour_goes_with_which_shape(
    run: Run, default_bundle: Path, tmp_path: Path
) -> None:
    """What pooled vectors cannot tell: a red circle beside a blue star, or a blue circle beside a red star."""
    scenes = tmp_path / "scenes"
    run("scenes", "--out", scenes, "--count", "1500")
    for table in scenes.glob("*.jsonl"):
        records = [json.loads(line) for line in table.read_text().splitlines()]
        for record in records:
            record["contrasts"] = [c for c in record["contrasts"] if c["kind"] == "presence"]
        table.write_text("".join(json.dumps(record) + "\n" for record in records))
    run(
        "train", "--preset", "contrasts", "--data", scenes, "--out", tmp_path / "drawn",
        "--vision", default_bundle / "vision", "--text", default_bundle / "text",
        "--hidden-size", "128", "--attention-heads", "4", "--intermediate-size", "256",
        "--pooled-epochs", "0", "--align-epochs", "4", "--epochs", "1", "--pairs-per-image", "1", "--threads", "1",
        "--detail-stage", "4",
        timeout=900,
    )  # fmt: skip
    # Combinations of colour and shape that training neither showed nor named.
    run(
        "evaluate", "--model", tmp_path / "drawn", "--data", scenes, "--split", "test",
        "--task", "contrasts", "--resamples", "0", "--controls", scenes / "train.jsonl",
        "--json", tmp_path / "figures.json",
    )  # fmt: skip
    row = json.loads((tmp_path / "figures.json").read_text())["tasks"]["contrasts"]["rows"]["presence"]
    value = {name: cell["value"] if isinstance(cell, dict) else cell for name, cell in row.items()}
    assert value["match head"] >= 85
    assert value["match head"] >= value["two towers"] + 10


def test_an_existing_directory_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").write_text("mine")
    run("scenes", "--out", tmp_path / "mine", "--count", "10", code=64)
    assert (tmp_path / "mine" / "train.jsonl").read_text() == "mine"

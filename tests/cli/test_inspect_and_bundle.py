"""bifocal inspect, and the bundles that bifocal bundle makes."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, json_lines, one_vector


@pytest.fixture(scope="module")
def inspected(run: Run) -> dict:
    (result,) = json_lines(run("inspect", "--json", "--verify").stdout)
    return result


def test_inspect_counts_every_part(inspected: dict) -> None:
    parts = {part["name"]: part for part in inspected["parts"]}
    assert list(parts) == ["vision", "text", "fusion"]
    # As published: EfficientNet-Lite0 has 4,652,008 parameters, MiniLM-L6 22.7 million.
    assert parts["vision"]["parameters"] == 4_652_008
    assert parts["text"]["parameters"] == pytest.approx(22.7e6, rel=0.01)
    assert parts["fusion"]["parameters"] == pytest.approx(2.8e6, rel=0.02)
    assert parts["vision"]["multiply_adds"] == pytest.approx(0.39e9, rel=0.05)


def test_inspect_knows_the_files(inspected: dict, default_bundle: Path) -> None:
    assert {"vision/model.safetensors", "text/config.json", "README.md"} <= {
        file["path"] for file in inspected["files"]
    }
    for file in inspected["files"]:
        contents = (default_bundle / file["path"]).read_bytes()
        assert file["state"] == "ok"
        assert file["bytes"] == len(contents)
        assert file["sha256"] == hashlib.sha256(contents).hexdigest()


def test_inspect_shows_licence_and_quality(inspected: dict, run: Run, source_dir: Path) -> None:
    card = (source_dir / "models" / "default" / "README.md").read_text(encoding="utf-8")
    assert inspected["card"] == card
    assert inspected["licence"] == "research-use"
    assert inspected["quality"].startswith("Measured with")
    assert "R@1" in inspected["quality"]
    shown = run("inspect").stdout
    for expected in ("research-use", "vision", "22.57 M", "recall at 1", "listed"):
        assert expected in shown


@pytest.fixture
def copied(default_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_bundle, tmp_path / "copy"))


def test_verify_finds_a_changed_byte(run: Run, copied: Path) -> None:
    with (copied / "fusion" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    run("inspect", "--model", copied)
    done = run("inspect", "--model", copied, "--verify", code=78)
    assert "fusion/model.safetensors" in done.stderr
    assert "differs" in done.stdout
    assert "fusion/model.safetensors" in run("embed", "--model", copied, "--text", "a", code=78).stderr


def test_a_missing_file_is_named(run: Run, copied: Path) -> None:
    (copied / "text" / "model.safetensors").unlink()
    assert "text/model.safetensors" in run("inspect", "--model", copied, code=78).stderr


def test_a_bundle_taken_apart_and_joined_is_the_same(run: Run, default_bundle: Path, tmp_path: Path) -> None:
    fusion = tmp_path / "fusion"
    fusion.mkdir()
    shutil.copy(default_bundle / "fusion" / "model.safetensors", fusion)
    manifest = json.loads((default_bundle / "bifocal.json").read_text())
    (fusion / "config.json").write_text(json.dumps(manifest["fusion"]))
    arguments = [
        "bundle", "--vision", default_bundle / "vision", "--text", default_bundle / "text",
        "--fusion", fusion, "--name", "joined", "--out", tmp_path / "joined",
    ]  # fmt: skip
    run(*arguments)
    text = "an orange space suit"
    ours = one_vector(run("embed", "--model", tmp_path / "joined", "--text", text).stdout)
    assert (ours == one_vector(run("embed", "--text", text).stdout)).all()
    (told,) = json_lines(run("inspect", "--model", tmp_path / "joined", "--json").stdout)
    assert (told["name"], told["licence"]) == ("joined", "unknown")

    assert "--force" in run(*arguments, code=64).stderr
    run(*arguments, "--force", "--licence", "MIT")
    (told,) = json_lines(run("inspect", "--model", tmp_path / "joined", "--json").stdout)
    assert told["licence"] == "MIT"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fusion", "joined"]


def test_a_fresh_fusion_layer_depends_on_its_seed_alone(run: Run, default_bundle: Path, tmp_path: Path) -> None:
    config = {"hidden_size": 64, "embedding_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
    (tmp_path / "small.json").write_text(json.dumps(config))

    def vector(name: str, seed: int) -> np.ndarray:
        run(
            "bundle", "--vision", default_bundle / "vision", "--text", default_bundle / "text",
            "--fusion-config", tmp_path / "small.json", "--seed", seed, "--out", tmp_path / name,
        )  # fmt: skip
        return one_vector(run("embed", "--model", tmp_path / name, "--text", "a seed").stdout)

    first, again, other = vector("first", 1), vector("again", 1), vector("other", 2)
    assert first.shape == (32,)
    assert (first == again).all()
    assert np.abs(first - other).max() > 1e-3


def test_parts_that_do_not_fit_leave_nothing_behind(run: Run, default_bundle: Path, tmp_path: Path) -> None:
    config = {"hidden_size": 64, "embedding_size": 32, "text_hidden_size": 100}
    (tmp_path / "wrong.json").write_text(json.dumps(config))
    encoders = ["--vision", default_bundle / "vision", "--text", default_bundle / "text"]
    done = run(
        "bundle", *encoders, "--fusion-config", tmp_path / "wrong.json", "--out", tmp_path / "out", code=78
    )
    assert "100" in done.stderr
    assert "384" in done.stderr
    for arguments, code, says in [
        (encoders, 64, "--fusion-preset"),
        ([*encoders, "--fusion-preset", "fusion-huge"], 64, "fusion-huge"),
        ([*encoders, "--fusion-preset", "fusion-small", "--labels", "colours"], 64, "NAME=FILE"),
        (["--vision", tmp_path, "--text", tmp_path, "--fusion-preset", "fusion-small"], 66, "config.json"),
    ]:
        assert says in run("bundle", *arguments, "--out", tmp_path / "out", code=code).stderr
    assert [p.name for p in tmp_path.iterdir()] == ["wrong.json"]

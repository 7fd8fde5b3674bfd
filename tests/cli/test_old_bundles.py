"""A bundle of each format_version stays in tests/data and must go on giving what it gave."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

PAIR = ["--image", "picture.png", "--text", "the cat sleeps"]
COMMANDS = {
    "embed": ["--input", "bundle-items.jsonl"],
    "match": PAIR,
    "classify": ["--input", "bundle-items.jsonl"],
}


def close(value: object) -> object:
    """The same value, its numbers compared with a tolerance."""
    if isinstance(value, float):
        return pytest.approx(value, abs=1e-5)
    if isinstance(value, list):
        return [close(item) for item in value]
    if isinstance(value, dict):
        return {key: close(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("version", [1, 2])
def test_an_old_bundle_still_gives_what_it_gave(
    version: int, command: str, bifocal: Path, source_dir: Path, tmp_path: Path
) -> None:
    data = source_dir / "tests" / "data"
    name = f"bundle-v{version}"
    assert json.loads((data / name / "bifocal.json").read_text())["format_version"] == version
    # A copy: who loads a bundle keeps packed weights in it.
    bundle = shutil.copytree(data / name, tmp_path / name)
    done = subprocess.run(
        [bifocal, command, "--model", bundle, *COMMANDS[command]],
        capture_output=True, text=True, check=True, cwd=data,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = (data / f"{name}.{command}.jsonl").read_text().splitlines()
    assert found == [close(json.loads(line)) for line in expected]

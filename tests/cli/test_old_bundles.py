"""A bundle of each format_version stays in tests/data and must go on giving its vectors."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.parametrize("version", [1])
def test_an_old_bundle_still_gives_its_vectors(version: int, bifocal: Path, source_dir: Path) -> None:
    data = source_dir / "tests" / "data"
    bundle = data / f"bundle-v{version}"
    assert json.loads((bundle / "bifocal.json").read_text())["format_version"] == version
    items = data / f"bundle-v{version}.items.jsonl"
    done = subprocess.run(
        [bifocal, "embed", "--model", bundle, "--input", items],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    vectors = data / f"bundle-v{version}.vectors.jsonl"
    expected = [json.loads(line) for line in vectors.read_text().splitlines()]
    assert [row["id"] for row in found] == [row["id"] for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours["embedding"], theirs["embedding"], atol=1e-5)

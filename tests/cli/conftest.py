"""The command line as a user meets it: the built program, the default bundle, real photographs."""

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Ours, without what would change which bundle is found."""
    return {key: value for key, value in os.environ.items() if key != "BIFOCAL_MODEL"}


@pytest.fixture(scope="session")
def run(bifocal: Path, default_bundle: Path, environment: dict[str, str]) -> Run:
    """run("embed", "--image", path): what the program did. `code` is the exit code to expect."""

    def call(
        *arguments: object, code: int = 0, program: Path = bifocal, **options: object
    ) -> subprocess.CompletedProcess:
        options.setdefault("env", environment)
        options.setdefault("timeout", 300)
        if not {"input", "stdin"} & options.keys():
            options["stdin"] = subprocess.DEVNULL
        if "stdout" not in options:
            options["stdout"] = subprocess.PIPE
        done = subprocess.run(
            [program, *map(str, arguments)],
            stderr=subprocess.PIPE, text=True, encoding="utf-8", check=False, **options,
        )  # fmt: skip
        assert done.returncode == code, f"exit {done.returncode}, not {code}: {done.stderr}"
        return done

    return call


@pytest.fixture(scope="session")
def photos(source_dir: Path) -> Path:
    return source_dir / "examples" / "photos"


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def write_json_lines(path: Path, records: Iterable[dict | str]) -> Path:
    """A string among the records is a line as it stands."""
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def data_uri(path: Path, media_type: str = "image/jpeg") -> str:
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"


def vectors(text: str) -> np.ndarray:
    """[records, embedding_size] of an output in which every record is done."""
    return np.array([record["embedding"] for record in json_lines(text)], dtype=np.float32)


def one_vector(text: str) -> np.ndarray:
    found = vectors(text)
    assert len(found) == 1
    return found[0]

"""What every Python test may ask for: the build, the data outside the repository, the programs."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def source_dir() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def build_dir() -> Path:
    """BIFOCAL_BUILD_DIR, else build/release."""
    directory = ROOT / os.environ.get("BIFOCAL_BUILD_DIR", "build/release")
    if not directory.is_dir():
        pytest.fail(f"{directory} is not there: run `make`, or set BIFOCAL_BUILD_DIR")
    return directory


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Data that is not in the repository; tests that need it skip where it is absent."""
    directory = Path(os.environ.get("BIFOCAL_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"{directory} is absent (BIFOCAL_SHARED_DATA names another place)")
    return directory


@pytest.fixture(scope="session")
def bifocal(build_dir: Path) -> Path:
    """The command line."""
    program = build_dir / "bifocal"
    if not program.is_file():
        pytest.fail(f"{program} is not there: run `make`")
    return program


@pytest.fixture(scope="session")
def default_bundle() -> Path:
    directory = ROOT / "build" / "bundles" / "default"
    if not (directory / "bifocal.json").is_file():
        pytest.fail(f"{directory} is not there: run `make`")
    return directory


@pytest.fixture(scope="session")
def run_probe(build_dir: Path) -> Callable[..., str]:
    """run_probe(name, *arguments): what the probe wrote to standard output."""

    def run(name: str, *arguments: object) -> str:
        program = build_dir / "tests" / "parity" / f"{name}_probe"
        if not program.is_file():
            pytest.fail(f"{program} is not there: build everything, not the command line alone")
        done = subprocess.run(
            [program, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"{name}_probe exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    return run

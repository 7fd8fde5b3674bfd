"""Installs Bifocal into a prefix and builds against it as a stranger would: outside the tree, with
neither LibTorch's headers nor its CMake package to be found."""

import json
import math
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest


def run(*command: object, **options) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(build_dir: Path, default_bundle: Path, tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("an install prefix") / "bifocal"
    run("cmake", "--install", build_dir, "--prefix", where)
    return where


@pytest.fixture(scope="module")
def photograph(source_dir: Path) -> Path:
    return source_dir / "examples" / "photos" / "cat.png"


@pytest.fixture(scope="module")
def expected(bifocal: Path, default_bundle: Path, photograph: Path) -> list[float]:
    line = run(bifocal, "embed", "--model", default_bundle, "--image", photograph)
    return json.loads(line)["embedding"]


@pytest.fixture(scope="module")
def stranger() -> dict[str, str]:
    """An environment that names no other place to find packages, headers or libraries in."""
    names = ("CMAKE_PREFIX_PATH", "CPATH", "CPLUS_INCLUDE_PATH", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH")
    return {name: value for name, value in os.environ.items() if name not in (*names, "BIFOCAL_MODEL")}


@pytest.fixture(scope="module")
def consumer(prefix: Path, source_dir: Path, stranger: dict[str, str], tmp_path_factory) -> Path:
    """examples/embed_photo, copied out of the tree, configured and built."""
    project = tmp_path_factory.mktemp("consumer") / "embed_photo"
    shutil.copytree(source_dir / "examples" / "embed_photo", project)
    build = project / "build"
    run(
        "cmake", "-S", project, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}",
        "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
        env=stranger, cwd=project,
    )  # fmt: skip
    run("cmake", "--build", build, env=stranger, cwd=project)
    return build


def headers_of(command: list[str], directory: Path) -> set[Path]:
    """Every header that a compilation reads."""
    rule = run(*command, "-M", "-MF", "-", "-o", os.devnull, cwd=directory)
    words = shlex.split(rule.replace("\\\n", " "))
    return {Path(word).resolve() for word in words if not word.endswith(":")}


def assert_same_vector(printed: str, expected: list[float]) -> None:
    vector = [float(line) for line in printed.split()]
    assert len(vector) == len(expected)
    assert math.dist(vector, expected) < 1e-5
    assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)


def test_cmake_consumer_embeds_a_photograph(consumer, prefix, photograph, expected, stranger):
    bundle = prefix / "share" / "bifocal" / "bundles" / "default"
    assert_same_vector(run(consumer / "embed_photo", bundle, photograph, env=stranger), expected)


def test_consumer_reads_no_header_of_libtorch(consumer):
    (entry,) = json.loads((consumer / "compile_commands.json").read_text())
    command = shlex.split(entry["command"])
    command = command[: command.index("-o")] + ["-c", entry["file"]]
    headers = headers_of(command, Path(entry["directory"]))
    assert any(header.name == "bifocal.h" for header in headers)
    foreign = [h for h in headers if {"torch", "ATen", "c10", "nlohmann", "boost"} & set(h.parts)]
    assert not foreign


def test_pkg_config_consumer_embeds_a_photograph(
    prefix, source_dir, photograph, expected, stranger, tmp_path
):
    shutil.copy(source_dir / "examples" / "embed_photo" / "main.cpp", tmp_path)
    (package,) = prefix.rglob("bifocal.pc")
    flags = run(
        "pkg-config", "--cflags", "--libs", "bifocal",
        env=stranger | {"PKG_CONFIG_PATH": str(package.parent)},
    )  # fmt: skip
    library = package.parent.parent
    run(
        "g++", "-std=c++20", "main.cpp", *shlex.split(flags), f"-Wl,-rpath,{library}",
        "-o", "embed_photo", cwd=tmp_path, env=stranger,
    )  # fmt: skip
    bundle = prefix / "share" / "bifocal" / "bundles" / "default"
    assert_same_vector(run(tmp_path / "embed_photo", bundle, photograph, env=stranger), expected)


def test_library_exports_its_public_names_alone(prefix):
    (library,) = (path for path in prefix.rglob("libbifocal.so") if path.is_symlink())
    symbols = [
        line.split(maxsplit=2)[2]
        for line in run("nm", "-DC", "--defined-only", library).splitlines()
    ]
    public = re.compile(r"(?:(?:typeinfo|typeinfo name|vtable) for )?bifocal::")
    inner = re.compile(r"bifocal::(core|nn|vision|text|fusion|models|engine)::")
    assert any(symbol.startswith("bifocal::Model::load") for symbol in symbols)
    assert any(symbol.startswith("bifocal::traits") for symbol in symbols)
    assert not [symbol for symbol in symbols if not public.match(symbol)]
    assert not [symbol for symbol in symbols if inner.match(symbol)]


def test_public_headers_name_no_library_beneath(prefix):
    headers = list((prefix / "include").rglob("*.h"))
    assert {"bifocal.h", "error.h", "version.h"} <= {header.name for header in headers}
    for header in headers:
        found = re.search(r"\b(torch|at|c10|boost|nlohmann)::|<(torch|ATen|c10|boost|nlohmann)/", header.read_text())
        assert not found, f"{header.name}: {found.group() if found else ''}"


def test_every_public_header_stands_alone(prefix, tmp_path):
    for header in sorted((prefix / "include" / "bifocal").glob("*.h")):
        source = tmp_path / "alone.cpp"
        source.write_text(f'#include <bifocal/{header.name}>\n')
        run("g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
            "-I", prefix / "include", source)  # fmt: skip


def test_installed_command_finds_the_bundle_under_its_prefix(
    prefix, photograph, expected, stranger, tmp_path
):
    line = run(prefix / "bin" / "bifocal", "embed", "--image", photograph, env=stranger, cwd=tmp_path)
    assert math.dist(json.loads(line)["embedding"], expected) < 1e-5


def test_an_installed_tree_can_be_moved(prefix, source_dir, photograph, expected, stranger, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(prefix, moved, symlinks=True)
    hidden = prefix.with_name("gone")
    prefix.rename(hidden)
    try:
        run("cmake", "-S", source_dir / "examples" / "embed_photo", "-B", tmp_path / "build",
            f"-DCMAKE_PREFIX_PATH={moved}", env=stranger)  # fmt: skip
        run("cmake", "--build", tmp_path / "build", env=stranger)
        bundle = moved / "share" / "bifocal" / "bundles" / "default"
        printed = run(tmp_path / "build" / "embed_photo", bundle, photograph, env=stranger)
        assert_same_vector(printed, expected)
    finally:
        hidden.rename(prefix)

"""Help, versions, mistakes on the command line, and which bundle is found."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import Run, json_lines

COMMANDS = ["embed", "classify", "match", "tokenize", "inspect", "bundle", "completion"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(run: Run, command: str) -> None:
    help_text = run(command, "--help").stdout
    assert f"Usage: bifocal {command}" in help_text
    assert f"  bifocal {command}" in help_text.split("Examples:")[1]
    assert max(map(len, help_text.splitlines())) <= 100


def test_help_lists_every_command(run: Run) -> None:
    help_text = run("--help").stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", help_text, re.MULTILINE)


def test_version_names_both_versions(run: Run) -> None:
    assert re.fullmatch(r"bifocal \d+\.\d+\.\d+ \(LibTorch \d+\.\d+\.\d+.*\)\n", run("--version").stdout)


def test_no_command_shows_the_help(run: Run) -> None:
    done = run(code=64)
    assert "Examples:" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["embd"], 'no command "embd"; did you mean embed?'),
        (["tokenise", "--text", "a"], "did you mean tokenize?"),
        (["frobnicate"], 'no command "frobnicate"\n'),
        (["embed", "--imagee", "cat.jpg"], "no option --imagee; did you mean --image?"),
        (["embed", "--text", "a", "--xyzzy=1"], "no option --xyzzy\n"),
        (["--verzion"], "did you mean --version?"),
        (["embed", "cat.jpg"], '"cat.jpg" was not expected'),
        (["embed", "--text"], "--text"),
        (["embed", "--text", "a", "--as", "sound"], '"sound" is not one of fused|image|text'),
        (["embed", "--text", "a", "--threads", "-1"], "--threads"),
        (["embed", "--text", "a", "--threads", "two"], "--threads"),
        (["embed", "--text", "a", "--threads-per-worker", "0"], "--threads-per-worker"),
        (["embed", "--text", "a", "--max-bytes", "0"], "--max-bytes"),
        (["completion"], "shell"),
        (["completion", "tcsh"], "bash|zsh|fish"),
        (["bundle", "--vision", "v", "--text", "t"], "--out"),
        (["embed", "--text", "a", "tokenize", "--text", "b"], "tokenize"),
    ],
)
def test_a_mistake_is_named(run: Run, arguments: list[str], says: str) -> None:
    done = run(*arguments, code=64)
    assert done.stderr.startswith("bifocal: ")
    assert says in done.stderr
    assert "--help`" in done.stderr
    assert done.stdout == ""


def test_the_mistake_names_the_help_of_its_command(run: Run) -> None:
    assert "See `bifocal embed --help`." in run("embed", "--nothing", code=64).stderr
    assert "See `bifocal --help`." in run("nothing", code=64).stderr


def test_details_come_only_when_asked_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bifocal.json").write_text("{")
    plain = run("inspect", "--model", tmp_path, code=78).stderr
    detailed = run("inspect", "--model", tmp_path, "--debug", code=78).stderr
    assert "detail:" not in plain
    assert detailed.startswith(plain.rstrip("\n"))


@pytest.fixture
def moved(bifocal: Path, tmp_path: Path) -> Path:
    """A copy of the program with no bundle around it."""
    (tmp_path / "prefix" / "bin").mkdir(parents=True)
    return Path(shutil.copy(bifocal, tmp_path / "prefix" / "bin" / "bifocal"))


def test_without_a_bundle_every_place_is_named(run: Run, moved: Path, environment: dict[str, str]) -> None:
    prefix = moved.parent.parent
    unset = run("tokenize", "--text", "a", program=moved, code=66).stderr
    for place in (prefix / "bundles/default", prefix / "share/bifocal/bundles/default", "BIFOCAL_MODEL"):
        assert str(place) in unset
    assert "make" in unset
    assert "--model" in unset
    wrong = environment | {"BIFOCAL_MODEL": "/nowhere/at/all"}
    assert "/nowhere/at/all" in run("tokenize", "--text", "a", program=moved, env=wrong, code=66).stderr


def test_a_bundle_is_found_under_the_prefix_then_in_the_environment(
    run: Run, moved: Path, default_bundle: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    named = environment | {"BIFOCAL_MODEL": str(default_bundle)}
    found = json_lines(run("inspect", "--json", program=moved, env=named).stdout)[0]
    assert found["path"] == str(default_bundle)

    installed = moved.parent.parent / "share" / "bifocal" / "bundles"
    installed.mkdir(parents=True)
    (installed / "default").symlink_to(default_bundle)
    found = json_lines(run("inspect", "--json", program=moved, env=named).stdout)[0]
    assert found["path"] == str(installed / "default")

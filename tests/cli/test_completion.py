"""The completion scripts, in the shells that read them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Run

COMMANDS = {"embed", "classify", "match", "tokenize", "inspect", "bundle", "train", "evaluate", "scenes", "contrasts", "completion"}


@pytest.fixture(scope="module")
def bash_script(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "bifocal.bash"
    path.write_text(run("completion", "bash").stdout)
    return path


def complete(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of `words`."""
    program = (
        f"set -eu; source {script}; complete -p bifocal >/dev/null\n"
        'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); compopt() { :; }\n'
        '_bifocal; [ ${#COMPREPLY[@]} = 0 ] || printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", program, "bash", *words], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_knows_the_command(bash_script: Path) -> None:
    done = subprocess.run(
        ["bash", "-euc", f"source {bash_script}; complete -p bifocal"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "complete -F _bifocal bifocal"


def test_bash_offers_commands_options_and_values(bash_script: Path) -> None:
    assert complete(bash_script, "bifocal", "") >= COMMANDS
    assert complete(bash_script, "bifocal", "emb") == {"embed"}
    assert complete(bash_script, "bifocal", "embed", "--as", "") == {"fused", "image", "text"}
    assert complete(bash_script, "bifocal", "--debug", "embed", "--format", "n") == {"npy"}
    assert complete(bash_script, "bifocal", "completion", "") >= {"bash", "zsh", "fish"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_bash_offers_every_option_that_the_help_has(run: Run, bash_script: Path, command: str) -> None:
    listed = set(re.findall(r"^  (?:-h,)?(--[a-z0-9-]+)", run(command, "--help").stdout, re.MULTILINE))
    assert "--help" in listed
    assert listed <= complete(bash_script, "bifocal", command, "--")


def test_bash_offers_files(bash_script: Path, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").touch()
    (tmp_path / "dogs").mkdir()
    prefix = f"{tmp_path}/"
    assert complete(bash_script, "bifocal", "embed", "--image", prefix) == {prefix + "cat.jpg", prefix + "dogs"}
    assert complete(bash_script, "bifocal", "embed", "--model", prefix) == {prefix + "dogs"}
    assert complete(bash_script, "bifocal", "embed", "--text", prefix) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_accepts_its_script(run: Run, tmp_path: Path, shell: str) -> None:
    script = run("completion", shell).stdout
    for command in COMMANDS:
        assert command in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its syntax check needs it")
    path = tmp_path / "script"
    path.write_text(script)
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

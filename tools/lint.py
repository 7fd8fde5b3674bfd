"""Checks the formatting of every C++ file, then runs clang-tidy over the sources of the library.

clang-tidy takes 5 s for most files and 40 s for one that includes LibTorch, so those are checked
only with --all (`make lint`). A file that passed is not checked again until it, a header of ours
that it includes, or .clang-tidy changes.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("core", "nn", "vision", "text", "fusion", "models", "training", "engine", "api")
FORMATTED = (*FOLDERS, "tests", "fuzz", "bench", "examples")
PASSED = ROOT / "build" / "lint"


@dataclass(frozen=True)
class Source:
    path: Path
    includes: tuple[Path, ...]  # everything that its object file was made from

    def compiled(self) -> bool:
        return bool(self.includes)

    def needs_libtorch(self) -> bool:
        return any("/torch/include/" in str(header) for header in self.includes)

    def fingerprint(self) -> str:
        digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
        ours = [path for path in self.includes if path.is_relative_to(ROOT) and ".venv" not in path.parts]
        for path in sorted({self.path, *ours}):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()


def check_format() -> bool:
    files = [
        path
        for folder in FORMATTED
        for pattern in ("*.cpp", "*.h")
        for path in sorted((ROOT / folder).rglob(pattern))
    ]
    print(f"clang-format: {len(files)} files", flush=True)
    return subprocess.run(["clang-format", "--dry-run", "-Werror", *files]).returncode == 0


def dependencies(build: Path) -> dict[Path, tuple[Path, ...]]:
    """What each object file was made from, as Ninja recorded it when it was compiled."""
    listing = subprocess.run(
        ["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True, check=True
    )
    found: dict[Path, tuple[Path, ...]] = {}
    for block in listing.stdout.split("\n\n"):
        head, *lines = block.strip().splitlines() or [""]
        target = head.split(": #deps")[0]
        found[build / target] = tuple((build / line.strip()).resolve() for line in lines)
    return found


def sources(build: Path) -> list[Source]:
    """The sources of the library and the command line, as compile_commands.json lists them."""
    commands = json.loads((build / "compile_commands.json").read_text())
    made_from = dependencies(build)
    found = {}
    for command in commands:
        path = Path(command["file"]).resolve()
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in FOLDERS:
            found[path] = Source(path, made_from.get(build / command["output"], ()))
    return sorted(found.values(), key=lambda source: source.path)


# The commands are g++'s, and clang does not know all of its warnings.
FOR_CLANG = "--extra-arg=-Wno-unknown-warning-option"


def tidy(source: Source, build: Path) -> bool:
    passed = PASSED / source.fingerprint()
    if passed.exists():
        return True
    done = subprocess.run(
        ["clang-tidy", "--quiet", "-p", build, FOR_CLANG, source.path],
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        passed.touch()
    else:
        print(done.stdout, done.stderr if not done.stdout else "", sep="", flush=True)
    return done.returncode == 0


def run_clang_tidy(build: Path, everything: bool) -> bool:
    found = sources(build)
    unknown = [source for source in found if not source.compiled()]
    if unknown:
        print("Compile these first, so that what they include is known:", *(source.path for source in unknown), sep="\n  ")
        return False
    chosen = [source for source in found if everything or not source.needs_libtorch()]
    print(f"clang-tidy: {len(chosen)} files", flush=True)
    PASSED.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return all([*pool.map(lambda source: tidy(source, build), chosen)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="the files that include LibTorch as well")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    arguments = parser.parse_args()
    formatted = check_format()
    sound = run_clang_tidy(arguments.build.resolve(), arguments.all)
    sys.exit(0 if formatted and sound else 1)


if __name__ == "__main__":
    main()

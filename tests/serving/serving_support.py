"""Values and helpers of the server's tests; the fixtures are in conftest.py."""

import base64
import io
import json
import subprocess
from pathlib import Path

import numpy as np

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
EMBED = "/v1/fused/embeddings"
CAPTIONS = [
    "a tabby cat with green eyes",
    "a cup of coffee on a red saucer",
    "a rocket on its launch pad",
    "two dogs run on the beach",
]


def body(*texts):
    return {"items": [{"text": text} for text in texts or CAPTIONS[:1]]}


def request_bytes(path, payload: bytes, *headers: str, close=True) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    if not any(header.lower().startswith(("transfer-encoding", "content-length")) for header in headers):
        lines.append(f"Content-Length: {len(payload)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload


def data_uri(path: Path) -> str:
    kind = {".jpg": "jpeg", ".png": "png", ".webp": "webp"}[path.suffix]
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def png(width: int, height: int) -> bytes:
    """One colour, whatever the size: it packs to next to nothing."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


class Library:
    """What the command line gives for the same items: the library without the server."""

    def __init__(self, program: Path, bundle: Path, folder: Path):
        self.program, self.bundle, self.folder = program, bundle, folder

    def run(self, command: str, records: list[dict]) -> list[dict]:
        source = self.folder / "items.jsonl"
        source.write_text("".join(json.dumps(record) + "\n" for record in records))
        done = subprocess.run(
            [self.program, command, "--model", self.bundle, "--input", source],
            capture_output=True, text=True, check=False,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def embed(self, records: list[dict]) -> np.ndarray:
        return np.array([answer["embedding"] for answer in self.run("embed", records)])


def assert_same(ours, theirs, tolerance=1e-6):
    """Vectors through the server against vectors of the library. 1e-6 holds where both made the
    same batches; a batch of another shape may differ by float32 rounding."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance, np.abs(ours - theirs).max()

"""Several processes that train one model, started as torchrun starts them."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import write_json_lines

SETTINGS = [
    "--preset", "retrieval", "--epochs", "2", "--batch-size", "4", "--pooled-epochs", "2",
    "--pooled-batch-size", "4", "--match-pairs", "4", "--visual-tokens", "9", "--text-layers", "1",
    "--hidden-size", "32", "--embedding-size", "32", "--attention-heads", "4",
    "--intermediate-size", "64", "--fusion-layers", "1", "--threads", "1", "--checkpoint-every", "1",
]  # fmt: skip


@pytest.fixture
def training(bifocal: Path, default_bundle: Path, photos: Path, tmp_path: Path):
    names = sorted(path.name for path in photos.iterdir() if path.suffix in (".jpg", ".png", ".webp"))
    table = write_json_lines(
        tmp_path / "train.jsonl",
        ({"image": name, "captions": [f"a picture of {Path(name).stem}", Path(name).stem]} for name in names),
    )

    def command(out: str, *more: str) -> list[str]:
        return [
            str(bifocal), "train", *SETTINGS, "--data", str(table), "--validation", str(table),
            "--images", str(photos), "--vision", str(default_bundle / "vision"),
            "--text", str(default_bundle / "text"), "--cache", str(tmp_path / "cache"),
            "--out", str(tmp_path / out), *more,
        ]  # fmt: skip

    return command


def test_torchrun_starts_two_processes_that_make_one_bundle(training, tmp_path, run, environment):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone",
         "--nproc-per-node", "2", *training("two")],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("two is ready") == 1, "rank 0 alone says so"
    bundle = tmp_path / "two"
    log = [json.loads(line) for line in (bundle / "training" / "fusion.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "evaluation" for line in log) == 2
    run("embed", "--model", bundle, "--text", "a picture")


def test_a_rank_that_is_killed_ends_the_other_with_a_reason(training, tmp_path, environment):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ranks = [
        subprocess.Popen(
            training("lost", "--epochs", "100000"), stderr=subprocess.PIPE, text=True,
            env=environment | {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        )
        for rank in range(2)
    ]  # fmt: skip
    log = tmp_path / "lost.training" / "fusion" / "metrics.jsonl"
    until = time.monotonic() + 300
    while not (log.is_file() and log.read_text()):
        assert time.monotonic() < until and all(rank.poll() is None for rank in ranks)
        time.sleep(0.1)
    ranks[1].send_signal(signal.SIGKILL)
    _, said = ranks[0].communicate(timeout=120)
    ranks[1].communicate()
    assert ranks[0].returncode not in (0, -signal.SIGKILL)
    assert "rank 0: another rank was lost" in said and "--resume" in said
    assert any((tmp_path / "lost.training" / "fusion").glob("step-*")), "what was saved before stays"

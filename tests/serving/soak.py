#!/usr/bin/env python3
"""Loads a server for as long as it is told to, well and badly, and prints the slope of its memory.

    tests/serving/soak.py --seconds 3600        # make soak

Four clients send captions of every length, photographs, both, batches, what is broken, and hang up
now and then. A report is one JSON object; the slope is that of a line through the second half of the
samples, when every shape has been seen.
"""

import argparse
import base64
import collections
import json
import os
import random
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import requests

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))
from server import Server  # noqa: E402

PHOTOS = [path for path in sorted((ROOT / "examples" / "photos").iterdir()) if path.suffix in (".jpg", ".png", ".webp")]
WORDS = "a the dog cat runs on of red blue photograph street water with two people café 中文 🙂".split()


def one_item(chance):
    kind = chance.random()
    text = " ".join(chance.choices(WORDS, k=chance.randrange(1, 60)))
    if kind < 0.7:
        return {"text": text}
    photo = chance.choice(PHOTOS).read_bytes()
    if kind < 0.75:
        photo = photo[: chance.randrange(1, len(photo))]  # most of these are refused
    item = {"image": "data:image/png;base64," + base64.b64encode(photo).decode()}
    return item if kind < 0.85 else item | {"text": text}


def send(server, session, chance):
    """The status, or what was done instead of asking."""
    kind = chance.random()
    if kind < 0.02:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        connection.sendall(b"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{")
        connection.close()
        return "hung up"
    if kind < 0.04:
        return session.post(server.url + "/v1/embeddings", data=b'{"input": [', timeout=60).status_code
    if kind < 0.06:
        return session.get(server.url + "/metrics", timeout=60).status_code
    items = [one_item(chance) for _ in range(1 if kind < 0.6 else chance.randrange(1, 12))]
    return session.post(server.url + "/v1/fused/embeddings", json={"items": items}, timeout=60).status_code


def soak(server, seconds, seed=0):
    stop, counts, lock = time.monotonic() + seconds, collections.Counter(), threading.Lock()

    def client(number):
        chance, session = random.Random(seed * 1000 + number), requests.Session()
        while time.monotonic() < stop:
            status = send(server, session, chance)
            with lock:
                counts[str(status)] += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for one in clients:
        one.start()
    began, samples = time.monotonic(), []
    while time.monotonic() < stop:
        samples.append((time.monotonic() - began, server.resident_bytes() / 2**20))
        time.sleep(min(1.0, seconds / 60))
    for one in clients:
        one.join()
    late = np.array(samples[len(samples) // 2 :])
    slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) * 60
    return {"seconds": seconds, "answers": dict(sorted(counts.items())), "memory_MiB_at_half": round(float(late[0, 1]), 1),
            "memory_MiB_at_end": round(float(late[-1, 1]), 1), "slope_MiB_a_minute": round(slope, 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--model", type=Path, default=ROOT / "build" / "bundles" / "default")
    arguments = parser.parse_args()
    program = ROOT / os.environ.get("BIFOCAL_BUILD_DIR", "build/release") / "bifocal"
    with Server(program, arguments.model, "--max-wait-ms", 0, "--log-level", "info") as server:
        print(json.dumps(soak(server, arguments.seconds)))
        sys.exit(server.stop())


if __name__ == "__main__":
    main()

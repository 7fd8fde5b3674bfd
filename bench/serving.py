#!/usr/bin/env python3
"""The server under load, beside the library in one process and beside a peer.

    bench/serving.py [--precision fp32|bf16|auto] [--kind text|photo] [--seconds 6] [--rounds 3]
    bench/serving.py --peer PYTHON        # a Python that has infinity-emb[server,torch]==0.0.78

First, capacity: slices of the library and of the saturated server take turns on the same cores, and
the ratio is of the medians. Then open load at 50, 90, 150 and 300 % of that capacity: requests begin at
fixed times, and a latency counts from the time that was meant. With --peer, infinity-emb serves the
same MiniLM weights to the same captions on the same cores, in turns with this server: a text a
request with 16 clients, then 32 a request with 8. Everything stays on loopback. `make` first.
"""

import argparse
import base64
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / os.environ.get("BIFOCAL_BUILD_DIR", "build/release")
DATA = pathlib.Path(os.environ.get("BIFOCAL_SHARED_DATA", ROOT.parent / "shared" / "data"))


def captions():
    """Those of Flickr8k's dev split where it is at hand, else the examples' over and over."""
    file = DATA / "flickr8k" / "dev.jsonl"
    if file.is_file():
        found = []
        for line in file.read_text(encoding="utf-8").splitlines():
            found += json.loads(line)["captions"]
        return found
    print("(no Flickr8k here: the captions of examples/ instead)")
    texts = (ROOT / "examples" / "captions.txt").read_text(encoding="utf-8").splitlines()
    return [f"{text}, number {i}" for i in range(200) for text in texts if text]


def photographs():
    uris = []
    for path in sorted((ROOT / "examples" / "photos").iterdir()):
        kind = {".jpg": "jpeg", ".png": "png", ".webp": "webp"}.get(path.suffix)
        if kind:
            uris.append(f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}")
    return uris


def write_bodies(file, items, at_once):
    with open(file, "w", encoding="utf-8") as out:
        for i in range(0, len(items) - at_once + 1, at_once):
            out.write(json.dumps({"items": items[i : i + at_once], "encoding_format": "base64"}) + "\n")


def program(name):
    for place in (BUILD / "bench" / name, BUILD / name):
        if place.is_file():
            return place
    sys.exit(f"{name} is not built: make")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident(process):
    """MiB of it and of its children."""
    pids, total = [process.pid], 0
    while pids:
        pid = pids.pop()
        try:
            total += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            pass
    return total / 2**20


class Serving:
    def __init__(self, command, port, ready, env=None):
        self.port = port
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
        until = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            if time.monotonic() > until or self.process.poll() is not None:
                sys.exit(f"{command[0]} did not start")
            time.sleep(0.1)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)
        time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.go_on()
        self.process.terminate()
        self.process.wait(60)


def bifocal(arguments, *flags):
    port = free_port()
    return Serving([program("bifocal"), "serve", "--model", arguments.model, "--port", port,
                    "--precision", arguments.precision, "--log-level", "error", *flags], port, "/ready")


def load(port, bodies, seconds, *flags, path="/v1/fused/embeddings"):
    done = subprocess.run(
        [program("bench_load"), "--port", str(port), "--path", path, "--bodies", bodies, "--seconds", str(seconds),
         *map(str, flags)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def library(arguments, bodies, seconds):
    done = subprocess.run(
        [program("bench_library"), "--model", arguments.model, "--bodies", bodies, "--seconds", str(seconds),
         "--precision", arguments.precision], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["per_second"]


def compare_capacity(arguments, server, bodies):
    at_once = 8 if arguments.kind == "text" else 2
    one_run, of_server = [], []
    load(server.port, bodies, 2, "--clients", 16, "--items", at_once)
    for _ in range(arguments.rounds):
        server.pause()
        one_run.append(library(arguments, bodies, arguments.seconds))
        server.go_on()
        of_server.append(load(server.port, bodies, arguments.seconds, "--clients", 16, "--items", at_once)["per_second"])
    inside, outside = statistics.median(one_run), statistics.median(of_server)
    print(f"\nItems a second at saturation, {arguments.kind}, {arguments.precision} ({at_once} a request, 16 clients; medians of {arguments.rounds}):")
    print(f"  library {inside:.1f}   server {outside:.1f}   ratio {outside / inside:.3f}")
    return outside


def open_load(arguments, server, bodies, capacity):
    print("\n| load | arrivals/s | goodput/s | p50 ms | p99 ms | refused | refusal p50 ms | without Retry-After | memory MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for share in (0.5, 0.9, 1.5, 3.0):
        # Capacity was measured with several items a request; one a request costs a little more.
        answer = load(server.port, bodies, arguments.seconds * 2, "--rate", capacity * share,
                      "--good-ms", 2 * arguments.max_wait, "--connections", 4096)
        sent = sum(answer["statuses"].values())
        refused_after = answer["refused_p50_ms"]
        rows.append(answer["goodput"])
        print(f"| {share:.0%} | {capacity * share:.0f} | {answer['goodput']:.1f} | {answer['p50_ms']:.1f} | {answer['p99_ms']:.1f} |"
              f" {answer['refused']} of {sent} | {'' if refused_after is None else format(refused_after, '.1f')} |"
              f" {answer['without_retry_after']} | {resident(server.process):.0f} |")
        if answer["failures"]:
            print(f"  failures: {answer['failures']}")
        time.sleep(2)
    print(f"\nGoodput at 300 % is {rows[-1] / max(rows):.1%} of its peak.")


def compare_peer(arguments, folder, texts):
    """One text a request is /embeddings of OpenAI's form for both: what each offers to its users."""
    minilm = pathlib.Path(arguments.model) / "text"
    if not (minilm / "model.safetensors").is_file():
        sys.exit(f"{minilm} has no weights for the peer")
    weights = shutil.copytree(minilm, folder / "minilm")
    port = free_port()
    command = [arguments.peer, "-m", "infinity_emb", "v2"] if arguments.peer_module else [
        pathlib.Path(arguments.peer).parent / "infinity_emb", "v2"]
    peer = Serving([*command, "--model-id", weights, "--engine", "torch", "--device", "cpu", "--port", port,
                    "--dtype", arguments.peer_dtype, "--no-bettertransformer"],
                   port, "/health", {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"})
    ours = bifocal(arguments, "--max-wait-ms", 0)
    print(f"\nBeside infinity-emb ({arguments.peer_dtype}), MiniLM-L6, captions; this server in {arguments.precision}"
          f" (medians of {arguments.rounds} turns):")
    print("| texts a request | clients | infinity/s | p50 ms | MiB | this/s | p50 ms | MiB | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with peer, ours:
        for at_once, clients in ((1, 16), (32, 8)):
            theirs_file, ours_file = folder / f"theirs{at_once}", folder / f"ours{at_once}"
            with open(theirs_file, "w", encoding="utf-8") as a, open(ours_file, "w", encoding="utf-8") as b:
                for i in range(0, len(texts) - at_once + 1, at_once):
                    some = texts[i : i + at_once]
                    a.write(json.dumps({"model": str(weights.name), "input": some}) + "\n")
                    b.write(json.dumps({"input": some}) + "\n")
            flags = ("--clients", clients, "--items", at_once)
            found = {"peer": [], "ours": []}
            for round_ in range(arguments.rounds + 1):
                for name, one, other, file, path in (("peer", peer, ours, theirs_file, "/embeddings"),
                                                     ("ours", ours, peer, ours_file, "/v1/embeddings")):
                    other.pause()
                    one.go_on()
                    answer = load(one.port, file, arguments.seconds, *flags, path=path)
                    other.go_on()
                    if set(answer["statuses"]) != {"200"}:
                        sys.exit(f"{name} answered {answer}")
                    if round_ > 0:  # the first warms up
                        found[name].append((answer["per_second"], answer["p50_ms"]))
            a, b = ([statistics.median(column) for column in zip(*found[name])] for name in ("peer", "ours"))
            print(f"| {at_once} | {clients} | {a[0]:.0f} | {a[1]:.1f} | {resident(peer.process):.0f} | {b[0]:.0f} | {b[1]:.1f} |"
                  f" {resident(ours.process):.0f} | {b[0] / a[0]:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=ROOT / "build" / "bundles" / "default")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "auto"))
    parser.add_argument("--kind", default="text", choices=("text", "photo"))
    parser.add_argument("--seconds", type=float, default=6, help="of a slice")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-wait", type=int, default=500, help="the server's --max-wait-ms")
    parser.add_argument("--peer", help="a Python with infinity-emb")
    parser.add_argument("--peer-dtype", default="float32")
    parser.add_argument("--peer-module", action="store_true", help="start it with -m")
    arguments = parser.parse_args()
    name = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    print(f"{name}, {len(os.sched_getaffinity(0))} cores, {time.strftime('%Y-%m-%d')}")
    texts = captions()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        if arguments.peer:
            compare_peer(arguments, folder, texts)
            return
        if arguments.kind == "text":
            items = [{"text": text} for text in texts]
        else:
            photos = photographs()
            items = [{"image": photos[i % len(photos)], "text": texts[i]} for i in range(4 * len(photos))]
        many, single = folder / "many", folder / "single"
        write_bodies(many, items, 8 if arguments.kind == "text" else 2)
        write_bodies(single, items, 1)
        with bifocal(arguments, "--max-wait-ms", arguments.max_wait) as server:
            compare_capacity(arguments, server, many)
            capacity = load(server.port, single, arguments.seconds, "--clients", 32)["per_second"]
            print(f"One item a request, 32 clients: {capacity:.1f}/s; the shares below are of this.")
            open_load(arguments, server, single, capacity)


if __name__ == "__main__":
    main()

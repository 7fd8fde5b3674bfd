#!/usr/bin/env python3
"""The server under load, beside the library in one process and beside a peer.

    bench/serving.py [--precision fp32|bf16|int8|auto] [--kind text|photo] [--part capacity|load] [--seconds 6] [--rounds 3]
    bench/serving.py --peer PYTHON        # a Python that has infinity-emb[server,torch]==0.0.78

Capacity: slices of the library and of the saturated server take turns, and the ratio is of the
medians. What the server costs beside the library shows where both have the same core to themselves
and the load generator another; the figure of all cores, which the generator then shares with the
server alone, is printed after it. Load: open, at 50, 90, 150 and 300 % of what the server answers to
32 clients, the generator on a core of its own: requests begin at fixed times, and a latency counts from
the time that was meant. --shared-cores puts generator and server on the same cores.

With --peer, infinity-emb serves the same MiniLM weights to the same captions on the same cores, in
turns with this server: a text a request with 16 clients, then 32 a request with 8. A Python for it:
`python3 -m venv DIR && DIR/bin/pip install 'infinity-emb[server,torch]==0.0.78' torch==2.13.0`.

Everything stays on loopback. `make` first.
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


class Cores:
    """Which cores measure and which make the load."""

    def __init__(self, serving, load):
        self.serving, self.load = sorted(serving), sorted(load)

    @classmethod
    def split(cls):
        first, *others = sorted(os.sched_getaffinity(0))
        if not others:
            sys.exit("one core cannot be split: --shared-cores")
        return cls([first], others)

    @classmethod
    def shared(cls):
        return cls(os.sched_getaffinity(0), os.sched_getaffinity(0))

    def __str__(self):
        if self.serving == self.load:
            return f"all {len(self.serving)} cores, which the load generator shares"
        return f"core {self.serving[0]}, the load generator elsewhere"


def pinned(cores):
    """For subprocess: the child and its threads stay on these cores."""
    return {"preexec_fn": lambda: os.sched_setaffinity(0, cores)}


class Serving:
    def __init__(self, command, port, ready, env=None, cores=None):
        self.port = port
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **(env or {})}, **pinned(cores or os.sched_getaffinity(0)),
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


def bifocal(arguments, cores, *flags):
    port = free_port()
    return Serving([program("bifocal"), "serve", "--model", arguments.model, "--port", port,
                    "--precision", arguments.precision, "--log-level", "error", *flags],
                   port, "/ready", cores=cores.serving)


def load(port, cores, bodies, seconds, *flags, path="/v1/fused/embeddings"):
    done = subprocess.run(
        [program("bench_load"), "--port", str(port), "--path", path, "--bodies", bodies, "--seconds", str(seconds),
         *map(str, flags)], capture_output=True, text=True, check=True, **pinned(cores.load))
    return json.loads(done.stdout)


def library(arguments, cores, bodies):
    done = subprocess.run(
        [program("bench_library"), "--model", arguments.model, "--bodies", bodies, "--seconds", str(arguments.seconds),
         "--precision", arguments.precision], capture_output=True, text=True, check=True, **pinned(cores.serving))
    return json.loads(done.stdout)["per_second"]


def compare_capacity(arguments, cores, bodies):
    """`bodies`: files by how many items their requests have."""
    print(f"\n{arguments.kind}, {arguments.precision}, on {cores} (medians of {arguments.rounds}):")
    with bifocal(arguments, cores, "--max-wait-ms", 0) as server:
        flags = {at_once: ("--clients", 64 if at_once == 1 else 32, "--items", at_once) for at_once in bodies}
        inside, outside = [], {at_once: [] for at_once in bodies}
        for _ in range(arguments.rounds):
            server.pause()
            inside.append(library(arguments, cores, bodies[1]))
            server.go_on()
            # A server that stood still has measured a rate that is not its own.
            load(server.port, cores, bodies[1], 1, *flags[1])
            for at_once, file in bodies.items():
                answer = load(server.port, cores, file, arguments.seconds, *flags[at_once])
                if set(answer["statuses"]) != {"200"}:
                    sys.exit(f"the server answered {answer}")
                outside[at_once].append(answer["per_second"])
    of_library = statistics.median(inside)
    for at_once, rates in outside.items():
        rate = statistics.median(rates)
        print(f"  items a request {at_once}: library {of_library:.1f}/s, server {rate:.1f}/s, ratio {rate / of_library:.3f},"
              f" {1e6 / rate - 1e6 / of_library:.0f} us an item more")


def open_load(arguments, cores, bodies):
    # Clients that ask again at once would make a server that refuses spend its time on that.
    with bifocal(arguments, cores, "--max-wait-ms", 0) as server:
        capacity = load(server.port, cores, bodies, arguments.seconds, "--clients", 32)["per_second"]
    print(f"\n{arguments.kind}, {arguments.precision}, on {cores}. One item a request, 32 clients: {capacity:.1f}/s;"
          " the shares below are of this.")
    with bifocal(arguments, cores, "--max-wait-ms", arguments.max_wait) as server:
        load(server.port, cores, bodies, 2, "--clients", 2)
        measure_shares(arguments, cores, server, bodies, capacity)


def measure_shares(arguments, cores, server, bodies, capacity):
    print("\n| load | arrivals/s | goodput/s | p50 ms | p99 ms | refused | refusal p50 ms | without Retry-After | memory MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    goodput = []
    for share in (0.5, 0.9, 1.5, 3.0):
        answer = load(server.port, cores, bodies, arguments.seconds * 2, "--rate", capacity * share,
                      "--good-ms", 2 * arguments.max_wait, "--connections", 4096)
        sent = sum(answer["statuses"].values())
        refused_after = answer["refused_p50_ms"]
        goodput.append(answer["goodput"])
        print(f"| {share:.0%} | {capacity * share:.0f} | {answer['goodput']:.1f} | {answer['p50_ms']:.1f} | {answer['p99_ms']:.1f} |"
              f" {answer['refused']} of {sent} | {'' if refused_after is None else format(refused_after, '.1f')} |"
              f" {answer['without_retry_after']} | {resident(server.process):.0f} |")
        if answer["failures"]:
            print(f"  failures: {answer['failures']}")
        time.sleep(2)
    print(f"\nGoodput at 300 % is {goodput[-1] / max(goodput):.1%} of its peak.")


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
    cores = Cores.shared()
    ours = bifocal(arguments, cores, "--max-wait-ms", 0)
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
                    answer = load(one.port, cores, file, arguments.seconds, *flags, path=path)
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
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "int8", "auto"))
    parser.add_argument("--kind", default="text", choices=("text", "photo"))
    parser.add_argument("--part", choices=("capacity", "load"), help="one of the two alone")
    parser.add_argument("--shared-cores", action="store_true")
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
        bodies = {}
        for at_once in (1, 8 if arguments.kind == "text" else 2):
            bodies[at_once] = folder / str(at_once)
            write_bodies(bodies[at_once], items, at_once)
        if arguments.part != "load":
            for cores in (Cores.shared(),) if arguments.shared_cores else (Cores.split(), Cores.shared()):
                compare_capacity(arguments, cores, bodies)
        if arguments.part != "capacity":
            open_load(arguments, Cores.shared() if arguments.shared_cores else Cores.split(), bodies[1])


if __name__ == "__main__":
    main()

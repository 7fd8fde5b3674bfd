"""What goes wrong outside a test: the server says so, and serves the others as before."""

import concurrent.futures
import gzip
import json
import shutil
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from serving_support import CAPTIONS, EMBED, body, png, request_bytes


def serves(server) -> bool:
    answer = requests.post(server.url + EMBED, json=body(), timeout=30)
    return answer.status_code == 200 and answer.json()["data"][0]["object"] == "embedding"


def metric(server, name: str) -> float:
    total = 0.0
    for line in requests.get(server.url + "/metrics", timeout=30).text.splitlines():
        if line.split("{")[0].split(" ")[0] == name:
            total += float(line.rsplit(" ", 1)[1])
    return total


def test_a_full_disk_for_the_log_costs_log_lines_and_nothing_else(bifocal, default_bundle):
    import subprocess

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [bifocal, "serve", "--model", default_bundle, "--port", str(port), "--log-file", "/dev/full"]
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                answer = requests.post(f"http://127.0.0.1:{port}{EMBED}", json=body(), timeout=30)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        assert answer.status_code == 200
        text = requests.get(f"http://127.0.0.1:{port}/metrics").text
        lost = [line for line in text.splitlines() if line.startswith("bifocal_log_lines_lost ")]
        assert float(lost[0].split()[1]) >= 1
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_client_that_closes_in_the_middle_of_its_body(server):
    for reset in (False, True):
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(request_bytes(EMBED, b'{"items": [', "Content-Length: 1000")[:-2])
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    assert serves(server)


def test_work_of_a_client_that_has_gone_is_dropped(start):
    with start("--threads", 1, "--max-wait-ms", 0) as server:
        assert serves(server)
        payload = json.dumps(body(*["a dog on a long walk " * 4] * 2048)).encode()
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(request_bytes(EMBED, payload))
        until = time.monotonic() + 30
        while metric(server, "bifocal_pending_items") < 1000 and time.monotonic() < until:
            time.sleep(0.02)
        assert metric(server, "bifocal_pending_items") >= 1000
        connection.close()
        began = time.monotonic()
        while metric(server, "bifocal_pending_items") > 100:
            assert time.monotonic() - began < 10  # the whole batch would take far longer
            time.sleep(0.05)
        assert serves(server)


def test_half_open_connections_are_cut(start):
    """A client that sends half a request and then nothing, its side open."""
    with start("--header-timeout-ms", 500, "--body-timeout-ms", 500, "--idle-timeout-ms", 500) as server:
        halves = [b"", b"POST /v1/fu", b"POST / HTTP/1.1\r\nHost: a\r\nX: ", request_bytes(EMBED, b"{", "Content-Length: 50")]
        open_now = []
        for half in halves:
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            connection.sendall(half)
            open_now.append(connection)
        for connection in open_now:
            while connection.recv(4096):
                pass
            connection.close()
        assert serves(server)


def sent_by_trickle(connection, byte, patience=15):
    """What came back while one byte was sent after the other, until the server closed."""
    received, until = b"", time.monotonic() + patience
    connection.settimeout(0.2)
    while time.monotonic() < until:
        try:
            connection.sendall(byte)
        except OSError:
            pass  # closed for what we send; the answer may still be there
        try:
            got = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return received
        if not got:
            return received
        received += got
    raise AssertionError("the server kept a slow client")


def test_a_slow_loris_is_cut_and_starves_nobody(start):
    with start("--header-timeout-ms", 1000) as server:
        slow = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(200)]
        cut, until = set(), time.monotonic() + 10
        while len(cut) < len(slow) and time.monotonic() < until:
            for i, connection in enumerate(slow):
                if i in cut:
                    continue
                try:
                    connection.sendall(b"X")
                except OSError:
                    cut.add(i)
            assert requests.get(server.url + "/live", timeout=5).status_code == 200
            time.sleep(0.2)
        assert len(cut) == len(slow)
        assert serves(server)
        for connection in slow:
            connection.close()


def test_a_header_that_trickles_is_told_why_and_cut(start):
    with start("--header-timeout-ms", 1000) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            answer = sent_by_trickle(connection, b"X")
    assert answer.startswith(b"HTTP/1.1 408 ") and b"header" in answer


@pytest.mark.parametrize("framing", ["Content-Length: 10000", "Transfer-Encoding: chunked"])
def test_a_body_that_trickles_is_told_why_and_cut(start, framing):
    with start("--body-timeout-ms", 1500) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(request_bytes(EMBED, b"", framing))
            answer = sent_by_trickle(connection, b" " if "Length" in framing else b"1\r\n \r\n")
        assert answer.startswith(b"HTTP/1.1 408 ") and b"body-timeout-ms" in answer
        assert b"Connection: close" in answer
        assert server.wait_for("request")["status"] == 408
        assert serves(server)


def test_ten_thousand_idle_connections(start):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = []
    try:
        with start("--max-connections", count + 100) as server:
            assert serves(server)
            before = server.resident_bytes()
            for i in range(count):
                # Addresses of the loopback range in turn: one has too few ports for all.
                connections.append(socket.create_connection(
                    ("127.0.0.1", server.port), source_address=(f"127.0.0.{1 + i % 4}", 0)))
            assert serves(server)
            until = time.monotonic() + 20
            while metric(server, "bifocal_connections") < count and time.monotonic() < until:
                time.sleep(0.1)
            assert metric(server, "bifocal_connections") >= count
            assert (server.resident_bytes() - before) / count < 20_000  # bytes a connection
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_beyond_the_limit_wait_or_are_refused_and_the_others_live(start):
    with start("--max-connections", 5) as server:
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(20)]
        time.sleep(0.5)
        for connection in held:
            connection.close()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                if serves(server):
                    break
            except requests.ConnectionError:
                time.sleep(0.1)
        assert serves(server)


def test_pictures_of_one_pixel_and_of_fifty_million(start):
    with start("--max-pixels", 50_000_000) as server:
        for width, height, code in ((1, 1, None), (10_000, 5_000, None), (10_001, 5_000, "image_too_large")):
            answer = requests.post(server.url + EMBED, data=png(width, height), headers={"Content-Type": "image/png"}, timeout=120)
            one = answer.json()["data"][0]
            assert (one["error"]["code"] if code else one["object"]) == (code or "embedding")
        assert serves(server)


def test_a_body_of_no_bytes_and_types_that_are_wrong(url):
    for path in (EMBED, "/v1/match", "/v1/embeddings", "/v2/embed", "/embed", "/v2/models/default/infer"):
        for kind in ("application/json", "image/png", "text/html", "multipart/form-data", "", "application/json; charset=latin1; ="):
            answer = requests.post(url + path, data=b"", headers={"Content-Type": kind}, timeout=30)
            assert answer.status_code in (200, 400, 415), (path, kind, answer.text)
            if answer.status_code == 200:
                assert answer.json()["data"][0]["object"] == "error"


def test_a_bomb_within_a_bomb_and_deep_json(url, server):
    before = server.resident_bytes()
    twice = gzip.compress(gzip.compress(b"[" * 50_000_000))
    answer = requests.post(url + EMBED, data=twice, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert answer.status_code == 400
    deep = b'{"items": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}"
    assert requests.post(url + EMBED, data=deep, headers={"Content-Type": "application/json"}).status_code == 400
    assert server.resident_bytes() - before < 200_000_000


def test_a_malformed_request_is_answered_and_closed(server):
    for data in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                 b"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                 b"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                 b"POST /embed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4") or b" 505 " in answer, (data, answer)
    assert serves(server)


def test_a_poisoned_item_fails_alone_among_neighbours_of_other_requests(url, library):
    good = body(CAPTIONS[0])
    bad = {"items": [{"image": "data:image/png;base64,iVBORw0KGgo="}, {"text": "\u0000"}, {"text": CAPTIONS[1]}]}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: requests.post(url + EMBED, json=bad if i % 2 else good, timeout=60), range(64)))
    assert all(one.status_code == 200 for one in answers)
    for i, one in enumerate(answers):
        kinds = [item["object"] for item in one.json()["data"]]
        assert kinds[-1] == "embedding" and (not i % 2 or kinds[0] == "error")


def test_sigterm_finishes_what_is_in_flight_and_exits_0(start):
    with start("--threads", 1) as server:
        answers = []
        texts = [f"{word} " * 30 for word in CAPTIONS] * 10

        def ask():
            answers.append(requests.post(server.url + EMBED, json=body(*texts), timeout=60))

        asking = threading.Thread(target=ask)
        asking.start()
        until = time.monotonic() + 20
        while metric(server, "bifocal_pending_items") == 0 and time.monotonic() < until and not answers:
            time.sleep(0.005)
        assert server.stop(signal.SIGTERM) == 0
        asking.join(60)
        assert answers[0].status_code == 200
        assert all(one["object"] == "embedding" for one in answers[0].json()["data"])
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=2)


@pytest.fixture
def own_bundle(default_bundle, tmp_path):
    """A copy that a test may break."""
    copy = tmp_path / "bundle"
    shutil.copytree(default_bundle, copy, copy_function=lambda a, b: Path(b).write_bytes(Path(a).read_bytes()))
    return copy


def rewrite_fusion(bundle, change):
    """Writes every tensor of the fusion layer anew: change(name, its values as uint8[n, width])."""
    file = bundle / "fusion" / "model.safetensors"
    data = bytearray(file.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    for name, entry in header.items():
        if name != "__metadata__":
            a, b = entry["data_offsets"]
            width = {"F32": 4, "BF16": 2, "F16": 2}[entry["dtype"]]
            values = np.frombuffer(data[start + a : start + b], dtype=np.uint8).reshape(-1, width)
            data[start + a : start + b] = change(name, values).tobytes()
    file.write_bytes(data)


def poison(bundle):
    """A weight that is no number: the bundle loads, and every vector would be NaN."""
    nan = {4: [0, 0, 0xC0, 0x7F], 2: [0xC0, 0x7F]}
    rewrite_fusion(bundle, lambda _, values: np.full_like(values, nan[values.shape[1]]))


def make_another_model(bundle):
    """Every other weight changes its sign, which is the last byte's highest bit."""

    def change(_, values):
        values = values.copy()
        values[::2, -1] ^= 0x80
        return values

    rewrite_fusion(bundle, change)


def test_the_index_outlives_a_reload_but_not_the_model_that_made_its_vectors(start, own_bundle):
    def found(server):
        answer = requests.post(server.url + "/v1/search", json={"query": {"text": CAPTIONS[0]}}, timeout=60)
        assert answer.status_code == 200
        return [one["id"] for one in answer.json()["data"]]

    def reload(server):
        assert requests.post(server.url + "/v1/admin/reload", timeout=60).status_code == 200

    items = {"items": [{"id": str(i), "text": text} for i, text in enumerate(CAPTIONS)]}
    with start("--verify-checksums", "false", bundle=own_bundle) as server:
        requests.post(server.url + "/v1/search/items", json=items, timeout=60).raise_for_status()
        before = found(server)
        assert before[0] == "0" and len(before) == len(CAPTIONS)
        reload(server)
        assert found(server) == before
        make_another_model(own_bundle)
        reload(server)
        assert found(server) == []
        assert server.wait_for("index_emptied")["items"] == len(CAPTIONS)
        requests.post(server.url + "/v1/search/items", json=items, timeout=60).raise_for_status()
        assert found(server)[0] == "0"


def test_reload_swaps_without_dropping_and_a_bad_bundle_leaves_the_old_one(start, own_bundle):
    with start("--verify-checksums", "false", bundle=own_bundle) as server:
        expected = requests.post(server.url + EMBED, json=body()).json()["data"][0]["embedding"]
        stop, failed, served = threading.Event(), [], []

        def ask():
            session = requests.Session()
            while not stop.is_set():
                answer = session.post(server.url + EMBED, json=body(), timeout=60)
                vector = answer.json()["data"][0].get("embedding")
                (served if vector and np.allclose(vector, expected, atol=1e-5) else failed).append(answer.status_code)

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        try:
            for _ in range(2):
                assert requests.post(server.url + "/v1/admin/reload", timeout=60).status_code == 200
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("reloaded")
            poison(own_bundle)
            refused = requests.post(server.url + "/v1/admin/reload", timeout=60)
            assert refused.status_code >= 400 and refused.json()["error"]["message"]
            (own_bundle / "bifocal.json").write_text("{")
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("reload_failed")
        finally:
            stop.set()
            for asker in askers:
                asker.join(60)
        assert served and not failed
        assert serves(server)


def test_a_bundle_that_gives_nan_does_not_start(bifocal, own_bundle):
    import subprocess

    poison(own_bundle)
    done = subprocess.run([bifocal, "serve", "--check", "--model", own_bundle, "--verify-checksums", "false"],
                          capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr


def test_overload_is_refused_at_once_with_a_time_to_come_back(start):
    """Long texts on one worker, the wait limited to a tenth of a second."""
    with start("--threads", 1, "--max-wait-ms", 100) as server:
        session = requests.Session()
        text = "a dog on a very long walk " * 40
        for _ in range(4):  # until the rate is measured
            session.post(server.url + EMBED, json=body(*[text] * 8))
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: requests.post(server.url + EMBED, json=body(*[text] * 16), timeout=120), range(64)))
        refused = [one for one in answers if one.status_code in (429, 503)]
        assert refused and len(refused) < len(answers)
        assert all(one.status_code in (200, 429, 503) for one in answers)
        for one in refused:
            assert int(one.headers["Retry-After"]) >= 1
            assert float(one.headers["retry-after-ms"]) > 0
        assert time.monotonic() - began < 120
        assert serves(server)


def test_one_clients_thousands_do_not_starve_anothers_one(start):
    """Client A sends 2,048 items; B, from another address, sends one at a time meanwhile."""
    with start("--threads", 1, "--max-wait-ms", 0) as server:
        assert serves(server)
        texts = [f"photograph number {i} of a dog that runs along the beach" for i in range(2048)]
        large = {}

        def ask_much():
            began = time.monotonic()
            large["status"] = requests.post(server.url + EMBED, json=body(*texts), timeout=120).status_code
            large["took"] = time.monotonic() - began

        asking = threading.Thread(target=ask_much)
        asking.start()
        until = time.monotonic() + 20
        while metric(server, "bifocal_pending_items") < 1000 and time.monotonic() < until:
            time.sleep(0.01)
        waits = []
        adapter_source = ("127.0.0.2", 0)
        while asking.is_alive() and len(waits) < 20:
            payload = json.dumps(body()).encode()
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", server.port), source_address=adapter_source, timeout=60) as connection:
                connection.sendall(request_bytes(EMBED, payload))
                while connection.recv(65536):
                    pass
            waits.append(time.monotonic() - began)
        asking.join(120)
        assert large["status"] == 200
        assert len(waits) >= 5
        # One of B's never waits for what is left of A's: no more than a few batches.
        assert sorted(waits)[len(waits) // 2] < large["took"] / 5


def test_raw_bytes_from_a_generator_never_kill_it(server):
    generator = np.random.default_rng(3)
    for _ in range(200):
        size = int(generator.integers(1, 400))
        junk = generator.integers(0, 256, size, dtype=np.uint8).tobytes()
        if generator.random() < 0.5:
            junk = request_bytes(EMBED, junk, f"Content-Type: {['image/png', 'multipart/form-data; boundary=a'][size % 2]}")
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass
    assert serves(server)



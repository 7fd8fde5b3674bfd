"""HTTP as clients speak it, and how the server refuses what it cannot do."""

import functools
import gzip
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests
from serving_support import CAPTIONS, EMBED, assert_same, body, png, request_bytes


def raw(server, data: bytes, until_closed=True, seconds=20) -> bytes:
    """What comes back for bytes as they are."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if not until_closed and b"\r\n\r\n" in answer:
                break
        return answer


def test_health_paths(url):
    assert requests.get(f"{url}/live").json() == {"live": True}
    assert requests.get(f"{url}/ready").status_code == 200
    assert requests.get(f"{url}/health").json()["status"] == "ok"
    assert requests.get(f"{url}/v2/health/ready").status_code == 200


def test_metrics_have_our_names_and_those_of_known_dashboards(url):
    requests.post(url + EMBED, json=body())
    text = requests.get(f"{url}/metrics").text
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    for name in (
        "bifocal_requests_total", "bifocal_queue_duration_seconds_bucket",
        "bifocal_decode_duration_seconds_bucket", "bifocal_tokenize_duration_seconds_bucket",
        "bifocal_inference_duration_seconds_bucket", "bifocal_pending_items",
        "te_request_count", "te_request_success", "te_request_duration_bucket", "te_queue_size",
        "te_batch_next_size_bucket", "nv_inference_request_success", "nv_inference_count",
        "nv_inference_queue_duration_us", "process_resident_memory_bytes",
    ):
        assert name in names, name


def test_timing_headers_and_request_id(url):
    answer = requests.post(url + EMBED, json=body(), headers={"x-request-id": "my-id-7"})
    assert answer.headers["x-request-id"] == "my-id-7"
    for name in ("x-total-time", "x-queue-time", "x-decode-time", "x-tokenization-time", "x-inference-time"):
        assert int(answer.headers[name]) >= 0
    assert "inference;dur=" in answer.headers["server-timing"]
    made = requests.post(url + EMBED, json=body(), headers={"x-request-id": 'bad "id"'}).headers["x-request-id"]
    assert len(made) == 36


def test_the_log_has_the_trace_and_never_a_payload_or_a_key(start):
    with start() as server:
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        secret = "zanzibar quokka"
        requests.post(
            server.url + EMBED, json=body(secret),
            headers={"traceparent": parent, "Authorization": "Bearer bf_supersecret"},
        )
        event = server.wait_for("request")
        assert event["traceparent"] == parent
        assert event["status"] == 200 and event["route"] == EMBED
        server.stop()
        text = json.dumps(list(server.log))
        assert "quokka" not in text and "supersecret" not in text


def test_pipelined_requests_are_answered_in_order(server):
    payloads = [json.dumps({"texts": [text]}).encode() for text in CAPTIONS]
    data = b"".join(
        request_bytes("/v1/tokenize", payload, close=i == len(payloads) - 1)
        for i, payload in enumerate(payloads)
    )
    answer = raw(server, data).decode()
    assert answer.count("HTTP/1.1 200") == len(payloads)
    places = [answer.index(f'"{word}"') for word in ("tab", "coffee", "rocket", "dogs")]
    assert places == sorted(places)


def test_chunked_bodies_and_expect_continue(server):
    payload = json.dumps(body()).encode()
    chunks = b"".join(f"{len(payload[i:i + 7]):x}\r\n".encode() + payload[i:i + 7] + b"\r\n" for i in range(0, len(payload), 7))
    answer = raw(server, request_bytes(EMBED, chunks + b"0\r\n\r\n", "Transfer-Encoding: chunked"))
    assert b" 200 " in answer.split(b"\r\n")[0]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = request_bytes(EMBED, payload, "Expect: 100-continue")[: -len(payload)]
        connection.sendall(head)
        assert b"100 Continue" in connection.recv(4096)
        connection.sendall(payload)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        assert b" 200 " in answer.split(b"\r\n")[0]


def test_a_body_that_is_refused_is_not_asked_for(server):
    head = request_bytes(EMBED, b"", "Expect: 100-continue", "Content-Length: 99999999999")
    answer = raw(server, head)
    assert b"413" in answer.split(b"\r\n")[0] and b"100 Continue" not in answer


def test_gzip_bodies_and_the_cap_on_what_they_expand_to(start):
    with start("--max-expanded-bytes", 1_000_000) as server:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        small = gzip.compress(json.dumps(body()).encode())
        assert requests.post(server.url + EMBED, data=small, headers=headers).status_code == 200
        before = server.resident_bytes()
        bomb = gzip.compress(b" " * 200_000_000)
        answer = requests.post(server.url + EMBED, data=bomb, headers=headers)
        assert answer.status_code == 413
        assert server.resident_bytes() - before < 50_000_000
        broken = requests.post(server.url + EMBED, data=small[:-9], headers=headers)
        assert broken.status_code == 400
        other = requests.post(server.url + EMBED, data=small, headers={**headers, "Content-Encoding": "br"})
        assert other.status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/no/such/path", 404), ("GET", EMBED, 405), ("DELETE", "/live", 405), ("PUT", "/v1/match", 405)],
)
def test_unknown_paths_and_methods(url, method, path, status):
    answer = requests.request(method, url + path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    if status == 405:
        assert answer.headers["Allow"]


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b"", 400), (b"{", 400), (b"[1]", 400), (b"\xff\xfe", 400), (b'{"items": 5}', 400),
        (b'{"items": []}', 400), (b'{"items": [{"text": "a"}], "colour": 1}', 400),
        (b"[" * 100_000, 400), (b'{"items": [{"text": "a"}], "items": []}', 400),
        (b'{"items": [{"text": "a"}], "side": "left"}', 400),
    ],
)
def test_bad_json_is_named(url, payload, status):
    answer = requests.post(url + EMBED, data=payload, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"]


def test_content_types_that_are_not_read(url):
    answer = requests.post(url + EMBED, data=b"<a/>", headers={"Content-Type": "application/xml"})
    assert answer.status_code == 415


def test_each_item_has_its_own_error(url):
    items = [{"id": "good", "text": CAPTIONS[0]}, {"id": "bad", "image": "data:image/png;base64,AAAA"}, {"id": "none"}]
    answer = requests.post(url + EMBED, json={"items": items})
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert [one["object"] for one in data] == ["embedding", "error", "error"]
    assert data[1]["error"]["code"] in ("invalid_image", "unsupported_image")
    assert data[2]["error"]["code"] == "invalid_item"


def test_limits_on_headers_items_and_images(start):
    with start("--max-items", 3, "--max-header-bytes", 4096, "--max-pixels", 1000) as server:
        assert requests.post(server.url + EMBED, json=body(*["a"] * 4)).status_code == 413
        assert requests.get(server.url + "/live", headers={"x-long": "a" * 8000}).status_code == 431
        big = requests.post(server.url + EMBED, data=png(100, 100), headers={"Content-Type": "image/png"})
        assert big.json()["data"][0]["error"]["code"] == "image_too_large"


def test_keys_roles_and_rates(start, bifocal, tmp_path):
    keys = tmp_path / "keys"
    made = {}
    for name, role in (("shop", "use"), ("boss", "admin")):
        done = subprocess.run([bifocal, "serve", "--new-key", name, "--role", role], capture_output=True, text=True)
        made[name], line = done.stdout.strip().splitlines()
        with keys.open("a") as file:
            file.write(line + "\n")
        assert made[name] not in line
    keys.chmod(0o600)
    with start("--api-keys", keys, "--rate-limit", 5) as server:
        path = server.url + EMBED
        assert requests.get(server.url + "/live").status_code == 200
        assert requests.post(path, json=body()).status_code == 401
        assert requests.post(path, json=body(), headers={"Authorization": "Bearer wrong"}).status_code == 401
        shop = {"Authorization": f"Bearer {made['shop']}"}
        assert requests.post(path, json=body(), headers=shop).status_code == 200
        assert requests.post(server.url + "/v1/admin/reload", headers=shop).status_code == 403
        boss = {"x-api-key": made["boss"]}
        assert requests.post(server.url + "/v1/admin/reload", headers=boss).status_code == 200
        answers = [requests.post(path, json=body(), headers=shop) for _ in range(8)]
        limited = [one for one in answers if one.status_code == 429]
        assert limited and all(int(one.headers["Retry-After"]) >= 1 for one in limited)


def test_tls_with_a_certificate_that_is_renewed(start, tmp_path):
    import signal

    def certificate(name):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2",
             "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"],
            check=True, capture_output=True,
        )

    def seen(port):
        return ssl.get_server_certificate(("127.0.0.1", port))

    certificate("one")
    with start("--tls-certificate", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem") as server:
        answer = requests.post(server.url + EMBED, json=body(), verify=tmp_path / "cert.pem")
        assert answer.status_code == 200
        first = seen(server.port)
        for version, works in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
            context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            context.minimum_version = context.maximum_version = version
            with socket.create_connection(("127.0.0.1", server.port)) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                assert (secure.version() is not None) == works
        old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_1"], input=b"", capture_output=True)
        assert old.returncode != 0
        certificate("two")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded")
        assert seen(server.port) != first


def test_cors_is_off_until_configured(start, url):
    assert "Access-Control-Allow-Origin" not in requests.get(url + "/live", headers={"Origin": "https://shop.example"}).headers
    with start("--cors-origin", "https://shop.example") as server:
        for origin, allowed in (("https://shop.example", True), ("https://other.example", False)):
            answer = requests.options(server.url + EMBED, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
            assert (answer.status_code == 204) == allowed
            plain = requests.get(server.url + "/live", headers={"Origin": origin})
            assert ("Access-Control-Allow-Origin" in plain.headers) == allowed


def test_images_by_url_from_allowed_hosts_alone(start, library, photo):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=photo.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as pictures:
        threading.Thread(target=pictures.serve_forever, daemon=True).start()
        asked = {"items": [{"image": f"http://localhost:{pictures.server_port}/{photo.name}"}, {"text": CAPTIONS[0]}]}
        # Off until hosts are named; and then a private address needs its network named as well.
        for flags in ((), ("--url-host", f"localhost:{pictures.server_port}")):
            with start(*flags) as server:
                answer = requests.post(server.url + EMBED, json=asked).json()["data"]
                assert answer[0]["error"]["code"] == "forbidden"
                assert answer[1]["object"] == "embedding"
        with start("--url-host", f"localhost:{pictures.server_port}", "--url-network", "127.0.0.0/8") as server:
            answer = requests.post(server.url + EMBED, json=asked).json()["data"]
            assert_same(answer[0]["embedding"], library.embed([{"image": str(photo)}])[0])
            gone = {"items": [{"image": f"http://localhost:{pictures.server_port}/none.jpg"}]}
            answer = requests.post(server.url + EMBED, json=gone).json()["data"]
            assert answer[0]["error"]["code"] == "fetch_failed"
        pictures.shutdown()


def test_deadlines_are_the_requests_own(url):
    late = requests.post(url + EMBED, json=body(*CAPTIONS * 100), headers={"x-request-timeout-ms": "1"})
    assert late.status_code in (429, 504)
    assert requests.post(url + EMBED, json=body(), headers={"x-request-timeout-ms": "soon"}).status_code == 400
    assert requests.post(url + EMBED, json=body(), headers={"x-request-timeout-ms": "20000"}).status_code == 200


def test_a_large_batch_comes_back_in_order(url, library):
    texts = [f"photograph number {i} of a dog" for i in range(300)]
    answer = requests.post(url + EMBED, json=body(*texts)).json()
    assert [one["index"] for one in answer["data"]] == list(range(300))
    some = [0, 150, 299]
    assert_same([answer["data"][i]["embedding"] for i in some], library.embed([{"text": texts[i]} for i in some]), 1e-5)


def test_settings_are_checked_without_serving(bifocal, default_bundle, tmp_path):
    def check(*flags):
        return subprocess.run([bifocal, "serve", "--check", "--model", default_bundle, *map(str, flags)], capture_output=True, text=True)

    assert check().returncode == 0
    bad = check("--port", 70000)
    assert bad.returncode == 64 and "port" in bad.stderr
    config = tmp_path / "server.toml"
    config.write_text("max_itms = 5\n")
    unknown = check("--config", config)
    assert unknown.returncode != 0 and "max_itms" in unknown.stderr and "max_items" in unknown.stderr


def test_idle_connections_are_closed(start):
    with start("--idle-timeout-ms", 300) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            assert connection.recv(1) == b""


def test_the_port_is_free_for_the_next_server(start):
    for _ in range(2):
        with start() as server:
            assert requests.get(server.url + "/live").status_code == 200
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 60

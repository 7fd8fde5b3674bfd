"""The document at /openapi.json: valid, whole, and kept by the server under schemathesis."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests


def test_it_is_whole(url):
    document = requests.get(url + "/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method == "parameters":
                continue
            where = f"{method} {path}"
            assert operation["operationId"], where
            assert operation["summary"], where
            assert operation["responses"], where
    ids = [o["operationId"] for p in document["paths"].values() for m, o in p.items() if m != "parameters"]
    assert len(ids) == len(set(ids))


def test_each_path_is_one_that_the_server_knows(url):
    for path, operations in requests.get(url + "/openapi.json").json()["paths"].items():
        for method in operations:
            if method == "parameters":
                continue
            concrete = path.replace("{model}", "default").replace("{version}", "1")
            answer = requests.request(method.upper() if concrete != "/v1/admin/reload" else "OPTIONS", url + concrete)
            assert answer.status_code != 404, path
            assert answer.status_code != 405 or concrete == "/v1/admin/reload", path


@pytest.fixture
def api_key(bifocal, tmp_path):
    """A key, and the file that lets it in."""
    made = subprocess.run([bifocal, "serve", "--new-key", "tester"], capture_output=True, text=True, check=True)
    secret, line = made.stdout.strip().splitlines()
    file = tmp_path / "keys"
    file.write_text(line + "\n")
    file.chmod(0o600)
    return secret, file


def test_schemathesis_finds_no_failure(start, api_key, tmp_path):
    """Requests made from the schemas, good and bad, each judged by schemathesis' own checks.

    positive_data_acceptance is left out: JSON Schema cannot say that base64 must be a picture or
    that a document must fit the model, so some data that fits its schema is refused, with 400.
    """
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    secret, file = api_key
    # Too many items is 413, and a deadline of a millisecond that passes is 504: both say more than
    # the statuses that these checks expect.
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        "[checks.negative_data_rejection]\nexpected-statuses = ['4xx', '5xx']\n"
        "[checks.not_a_server_error]\nexpected-statuses = ['2xx', '3xx', '4xx', 504]\n"
    )
    with start("--max-wait-ms", 0, "--api-keys", file) as server:
        done = subprocess.run(
            [program, "--config-file", config, "run", f"{server.url}/openapi.json", "--checks", "all",
             "--exclude-checks", "positive_data_acceptance", "--exclude-path", "/v1/admin/reload",
             "--header", f"Authorization: Bearer {secret}",
             "--max-examples", "20", "--seed", "7", "--phases", "examples,coverage,fuzzing",
             "--request-timeout", "30", "--no-color", "--suppress-health-check", "all"],
            capture_output=True, text=True, timeout=600, cwd=tmp_path,  # it leaves a cache
        )
        assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
        assert server.process.poll() is None
        assert requests.get(server.url + "/ready").status_code == 200

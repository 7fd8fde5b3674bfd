"""Two minutes of everything at once (BIFOCAL_SOAK_SECONDS; `make soak` for an hour)."""

import os

from soak import soak


def test_memory_stays_and_nothing_breaks(start, capsys):
    with start("--max-wait-ms", 0) as server:
        report = soak(server, float(os.environ.get("BIFOCAL_SOAK_SECONDS", 120)))
        with capsys.disabled():
            print(f"\nsoak: {report}")
        assert server.stop() == 0
    assert not [status for status in report["answers"] if status.startswith("5")]
    assert report["answers"]["200"] > 20
    # A leak of a request's worth grows by far more; caches of shapes are full by half time.
    assert report["memory_MiB_at_end"] < 1.25 * report["memory_MiB_at_half"]

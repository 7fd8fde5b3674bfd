"""Starts `bifocal serve` for a test, and says where it listens."""

import collections
import json
import os
import queue
import signal
import subprocess
import threading
from pathlib import Path


class Server:
    """A server of the test's own, on a port that the system chose. Use as a context manager."""

    def __init__(self, program: Path, bundle: Path, *flags: object, env: dict | None = None):
        command = [program, "serve", "--model", bundle, "--port", "0", *flags]
        self.log: collections.deque[dict] = collections.deque(maxlen=10_000)
        self._events: queue.Queue = queue.Queue()
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = self.wait_for("listening")["port"]
        scheme = "https" if "--tls-certificate" in map(str, flags) else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def _read(self):
        for line in self.process.stderr:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "text", "line": line.rstrip()}
            self.log.append(event)
            self._events.put(event)
        self._events.put(None)

    def wait_for(self, name: str, seconds: float = 60) -> dict:
        """The next log line of that event."""
        while True:
            event = self._events.get(timeout=seconds)
            if event is None:
                raise AssertionError(f"the server ended before {name!r}; its log: {self.log}")
            if event["event"] == name:
                return event

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=10)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=30)

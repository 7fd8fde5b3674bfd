"""What the tests of the server share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from server import Server  # noqa: E402
from serving_support import PHOTOS, Library, data_uri  # noqa: E402


@pytest.fixture(scope="session")
def start(bifocal, default_bundle):
    """start(*flags): a server on the default bundle, as a context manager."""
    return lambda *flags, bundle=default_bundle, env=None: Server(bifocal, bundle, *flags, env=env)


@pytest.fixture(scope="session")
def server(start):
    """One server with the settings as they are, for tests that change nothing."""
    with start() as running:
        yield running


@pytest.fixture(scope="session")
def url(server):
    return server.url


@pytest.fixture(scope="session")
def photo() -> Path:
    return PHOTOS / "coffee.webp"


@pytest.fixture(scope="session")
def photo_uri(photo) -> str:
    return data_uri(photo)


@pytest.fixture(scope="session")
def library(bifocal, default_bundle, tmp_path_factory):
    return Library(bifocal, default_bundle, tmp_path_factory.mktemp("library"))

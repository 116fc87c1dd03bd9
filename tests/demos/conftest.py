"""The demonstrations' modules, and a running server of them."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

DEMOS = Path(__file__).parents[2] / "demos"
sys.path.insert(0, str(DEMOS))  # as Streamlit does for the page that it runs

START = 120  # seconds that a busy machine may take


@pytest.fixture(scope="session")
def server(environment, tmp_path_factory) -> Iterator[str]:
    """The address of a running launcher, started from elsewhere than the repository's root."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = {
        "server.headless": "true",
        "server.address": "127.0.0.1",
        "server.port": port,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
    }
    command = [sys.executable, "-m", "streamlit", "run", DEMOS / "home.py"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        wait_for_health(address, process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for_health(address: str, process: subprocess.Popen, log: Path) -> None:
    """Return as soon as the server answers."""
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        try:
            if urlopen(f"{address}/_stcore/health", timeout=5).status == 200:
                return
        except (URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"the server has not started:\n{log.read_text()}")


@pytest.fixture(scope="session")
def picture_file() -> Callable[..., bytes]:
    """Make a file of a smooth coloured picture: ``picture_file(width, height, 'PNG', ...)``."""

    def make(width: int, height: int, kind: str = "PNG", *, alpha: bool = False, **save) -> bytes:
        across, down = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 7, height))
        layers = [np.sin(across), np.cos(down), np.sin(across + down)]
        levels = np.stack([127.5 + 127.5 * layer for layer in layers], axis=2).astype(np.uint8)
        image = Image.fromarray(levels)
        if alpha:
            image.putalpha(Image.linear_gradient("L").resize((width, height)))
        file = BytesIO()
        image.save(file, kind, **save)
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def photograph(picture_file) -> bytes:
    """A JPEG of 12 megapixels, taken with the camera held upright: EXIF orientation 6."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture_file(4000, 3000, "JPEG", quality=85, exif=exif)


@pytest.fixture
def queue(monkeypatch):
    """A queue of the test's own in the place of the process's."""
    import common
    from jobs import JobQueue

    queue = JobQueue()
    monkeypatch.setattr(common, "queue", lambda: queue)
    return queue


@pytest.fixture
def gate(queue) -> Iterator[threading.Event]:
    """Hold the queue until the gate is opened."""
    opened = threading.Event()
    job = queue.submit(lambda report: opened.wait(START))
    yield opened
    opened.set()
    assert job.wait(START)

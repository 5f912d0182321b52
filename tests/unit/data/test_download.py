"""Downloads against a server on this machine: whole, altered, broken off, missing, and not asked for twice."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import stat
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from medistill.data.benchmarks import download as module
from medistill.data.benchmarks.catalogue import OfficialFile
from medistill.data.benchmarks.download import download
from medistill.errors import ArtifactError, DataError
from medistill.progress import Silent, SilentTask

CONTENT = np.random.default_rng(0).bytes(3_500_000)


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT whole, or says and does otherwise by the path."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if self.path.startswith("/silent"):
            self.server.shutdown_request(self.request)
            return
        if self.path.startswith("/pieces"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for n in range(0, len(CONTENT), 5000):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece := CONTENT[n : n + 5000]), piece))
            self.wfile.write(b"0\r\n\r\n")
            return
        if self.path.startswith("/endless"):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while True:
                    self.wfile.write(CONTENT)
            return
        content = CONTENT[:-1] + b"!" if self.path.startswith("/altered") else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path.startswith("/broken") else content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("OneHandler", (Handler,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()


def official(url: str, algorithm: str = "sha256", size: int = len(CONTENT)) -> OfficialFile:
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    return OfficialFile("set.tar.gz", url, f"{algorithm}:{digest}", size, "this test")


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_whole_file_gets_its_name_and_is_not_asked_for_again(
    server: tuple[str, list[str]], algorithm: str, tmp_path: Path
) -> None:
    url, asked = server
    file, folder = official(f"{url}/whole", algorithm), tmp_path / "new" / "folder"
    path = download(file, folder, Silent())
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert download(file, folder, Silent()) == path
    assert asked == ["/whole"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("altered", "what came has another hash"),
        ("broken", "the transfer broke off"),
        ("missing", "the server answered 404"),
        ("endless", "more came than the file has"),
        ("silent", "there is no connection"),
    ],
)
def test_what_goes_wrong_is_named_and_leaves_nothing(
    server: tuple[str, list[str]], path: str, why: str, tmp_path: Path
) -> None:
    url, _ = server
    with pytest.raises(DataError, match=why) as caught:
        download(official(f"{url}/{path}"), tmp_path, Silent())
    assert f"{url}/{path}" in caught.value.seen
    assert f"3500000 bytes with sha256:{hashlib.sha256(CONTENT).hexdigest()}" in caught.value.expected
    assert "--data" in caught.value.do
    assert list(tmp_path.iterdir()) == []
    assert download(official(f"{url}/whole"), tmp_path, Silent()).read_bytes() == CONTENT


def test_a_folder_that_was_there_keeps_its_mode(server: tuple[str, list[str]], tmp_path: Path) -> None:
    """It may hold the data of a whole group."""
    tmp_path.chmod(0o755)
    download(official(f"{server[0]}/whole"), tmp_path, Silent())
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_no_server_at_all_is_said(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=r"there is no connection to the server"):
        download(official(f"http://127.0.0.1:{port}/x"), tmp_path, Silent())
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/x"
        with pytest.raises(DataError, match=r"nothing came for"):
            download(official(url), tmp_path, Silent())


def test_another_file_of_that_name_is_left_alone(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = server
    (tmp_path / "set.tar.gz").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"is not the file that its authors publish \(it has 4 bytes\)"):
        download(official(f"{url}/whole"), tmp_path, Silent())
    assert (tmp_path / "set.tar.gz").read_bytes() == b"mine"
    assert asked == []


def test_too_little_room_is_said_before_anything_is_fetched(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = server
    with pytest.raises(DataError, match=r"MB free"):
        download(official(f"{url}/whole", size=10**18), tmp_path, Silent())
    assert asked == []


def test_a_folder_that_cannot_be_made_is_said(server: tuple[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match=r"could not be written"):
        download(official(f"{server[0]}/whole"), tmp_path / "file" / "folder", Silent())


class Counted(SilentTask):
    """A task that counts, and is stopped at a number of steps."""

    def __init__(self, stop_at: int) -> None:
        self.done, self.stop_at = 0, stop_at

    def advance(self, steps: int = 1, *, figures: str = "") -> None:
        self.done += steps
        if self.done >= self.stop_at:
            raise KeyboardInterrupt


class Watching(Silent):
    """Progress that keeps its one task."""

    def __init__(self, stop_at: int = 10**9) -> None:
        self.told, self.counted = (), Counted(stop_at)

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        self.told = title, total
        return self.counted


def test_progress_is_told_in_megabytes_and_ctrl_c_leaves_nothing(server: tuple[str, list[str]], tmp_path: Path) -> None:
    watching = Watching()
    download(official(f"{server[0]}/whole"), tmp_path / "a", watching)
    assert (watching.told, watching.counted.done) == (("Fetching set.tar.gz (MB)", 3), 3)
    in_pieces = Watching()
    download(official(f"{server[0]}/pieces"), tmp_path / "c", in_pieces)
    assert in_pieces.counted.done == 3
    with pytest.raises(KeyboardInterrupt):
        download(official(f"{server[0]}/whole"), tmp_path / "b", Watching(stop_at=1))
    assert list((tmp_path / "b").iterdir()) == []

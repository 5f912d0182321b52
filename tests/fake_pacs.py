"""A DICOMweb service on this machine that answers as the standard says, unless a test has it answer otherwise."""

from __future__ import annotations

import io
import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import numpy as np
from pydicom import dcmread

from medistill.data.phantom_dicom import SITES, PhantomImage, PhantomPatient, phantom_dataset

Answer = Callable[["Handler"], bool]
"""Answers a request in a way of its own; False where the service is to answer it as it should."""
BOUNDARY = "edge"


class Pacs:
    """A service with a few phantom studies of two images, which remembers what it was asked."""

    def __init__(self, studies: int = 3) -> None:
        rng = np.random.default_rng(3)
        self.files: dict[tuple[str, str, str], bytes] = {}
        for study in range(studies):
            patient = PhantomPatient.draw(rng)
            for image in range(2):
                told = PhantomImage(patient, SITES[0], "PA", False, "20240305", "A1", f"{study} {image}", f"{study}")
                made = phantom_dataset(rng.random((8, 8)), told)
                buffer = io.BytesIO()
                made.save_as(buffer, enforce_file_format=True)
                uids = (str(made.StudyInstanceUID), str(made.SeriesInstanceUID), str(made.SOPInstanceUID))
                self.files[uids] = buffer.getvalue()
        self.asked: list[tuple[str, str, str]] = []
        self.answers: list[Answer] = []
        self.page = 1000
        self.keeps = True
        self.url = ""

    @property
    def studies(self) -> list[str]:
        return list(dict.fromkeys(study for study, _, _ in self.files))

    def identifiers(self) -> set[str]:
        headers = [dcmread(io.BytesIO(content)) for content in self.files.values()]
        people = {str(text) for one in headers for text in (one.PatientName, one.PatientID, one.PatientBirthDate)}
        return people | {uid for uids in self.files for uid in uids}


class Handler(BaseHTTPRequestHandler):
    pacs: Pacs

    def do_GET(self) -> None:
        self.pacs.asked.append(("GET", self.path, self.headers.get("Authorization", "")))
        if self.pacs.answers and self.pacs.answers.pop(0)(self):
            return
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        asked = re.fullmatch(
            r"/dicom-web(?:/studies/([0-9.]+))?(?:/series/([0-9.]+))?/instances(?:/([0-9.]+))?", parts.path
        )
        assert asked is not None, self.path
        study, series, instance = asked.groups()
        if series is not None:
            self.give(multipart(self.pacs.files[study, series, instance]), f"multipart/related; boundary={BOUNDARY}")
            return
        wanted = query.get("SOPInstanceUID")
        found = [u for u in self.pacs.files if study in (None, u[0]) and wanted in (None, u[2])]
        offset = int(query.get("offset", 0))
        self.give(json.dumps([listed(u) for u in found[offset : offset + self.pacs.page]]).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.pacs.asked.append(("POST", self.path, self.headers.get("Authorization", "")))
        if self.pacs.answers and self.pacs.answers.pop(0)(self):
            return
        edge = self.headers["Content-Type"].partition('boundary="')[2].rstrip('"').encode()
        content = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--" + edge + b"--")[0]
        one = dcmread(io.BytesIO(content))
        if self.pacs.keeps:
            uids = (str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID))
            self.pacs.files[uids] = content
        self.give(b"{}")

    def give(self, content: bytes, kind: str = "application/dicom+json", status: int = 200, said: int = 0) -> bool:
        """Answer; ``said`` is the length that is announced, where that is not the real one."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(said or len(content)))
        self.end_headers()
        self.wfile.write(content)
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def listed(uids: tuple[str, str, str]) -> dict:
    tags = ("0020000D", "0020000E", "00080018")
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in zip(tags, uids, strict=True)}


def multipart(content: bytes, *, closed: bool = True) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return head + content + (f"\r\n--{BOUNDARY}--\r\n".encode() if closed else b"")


@contextmanager
def serving(pacs: Pacs, tls: ssl.SSLContext | None = None) -> Iterator[Pacs]:
    """Let it listen on a loopback port."""
    handler = type("OneHandler", (Handler,), {"pacs": pacs})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        if tls is not None:
            listening.socket = tls.wrap_socket(listening.socket, server_side=True)
        Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        pacs.url = f"http{'s' * (tls is not None)}://127.0.0.1:{listening.server_port}/dicom-web"
        yield pacs
        listening.shutdown()

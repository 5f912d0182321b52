"""The connection to a DICOMweb service: answers of bounded size and time, no other host, nothing cut short."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.exceptions import HTTPError, ReadTimeoutError

from medistill.data.dicomweb import is_this_machine
from medistill.errors import DataError

LARGEST = 2**28
"""Bytes that an answer may have, unpacked; a radiograph has a tenth of it."""
PIECE = 2**16


class Session(requests.Session):
    """A session in which every request keeps to the limits, whoever makes it.

    Args:
        place: the service in words, for errors.
        access: what is used to get access, in words, and what adds it to a request.
        timeouts: seconds to connect, and seconds without a byte.
        longest: seconds that a whole request may take, from the connection to the last byte of the answer.
    """

    def __init__(
        self,
        place: str,
        access: tuple[str, Callable[[requests.PreparedRequest], requests.PreparedRequest]],
        *,
        timeouts: tuple[float, float] = (10.0, 60.0),
        longest: float = 300.0,
    ) -> None:
        super().__init__()
        self.place, self.timeouts, self.longest = place, timeouts, longest
        self.auth_name, self.auth = access
        self.headers["Accept"] = "application/dicom+json"  # STOW answers in XML otherwise
        self._adapter = _Adapter()
        for scheme in ("https://", "http://"):
            self.mount(scheme, self._adapter)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send, and read the answer whole. This machine is spoken to without a proxy, whatever the environment names.

        Raises:
            DataError: the answer leads elsewhere, or is too large.
            requests.RequestException: as usual; also where a multipart answer was cut short.
        """
        request.headers.pop("Host", None)  # dicomweb-client sets it without the port
        limits = {"stream": True, "allow_redirects": False, "timeout": self.timeouts}
        if is_this_machine(urlsplit(request.url or "").hostname or ""):
            limits["proxies"] = {}
        with self._adapter.within(self.longest), super().send(request, **{**kwargs, **limits}) as response:
            if response.is_redirect:
                raise DataError(
                    f"{self.place} sends on to another address, which is not followed",
                    expected="an answer, since credentials and images go to the named address alone",
                    do="name the address that it sends to, if that is the service",
                )
            response._content = self._whole(response)
        if _cut_short(response):
            raise requests.exceptions.ChunkedEncodingError("the end is missing")
        return response

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: no answer leads on. Looking where one leads would read it, however long it is."""

    def _whole(self, response: requests.Response) -> bytes:
        whole = bytearray()
        while piece := self._piece(response):
            whole += piece
            if len(whole) > LARGEST:
                raise DataError(
                    f"{self.place} gives an answer of more than {LARGEST // 2**20} MiB",
                    expected="single images, and lists of them",
                    do="check the address, and take what is no radiograph out of the table",
                )
        return bytes(whole)

    def _piece(self, response: requests.Response) -> bytes:
        """What is there, without waiting for more as `iter_content` does; nothing at the end."""
        try:
            piece: bytes = response.raw.read1(PIECE, decode_content=True)
        except ReadTimeoutError:
            raise requests.Timeout("nothing came") from None
        except HTTPError:
            raise requests.exceptions.ChunkedEncodingError("the answer broke off") from None
        return piece


class _Adapter(HTTPAdapter):
    """An adapter that knows which connection is in use, to end it when its time is over.

    Timeouts of a socket begin anew with every byte, so they bound neither headers that come byte by byte, nor a hundred
    "100 Continue" a second.
    """

    def __init__(self) -> None:
        self._connection: Any = None
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have every connection tell when it is used."""
        super().init_poolmanager(*args, **kwargs)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """The same of connections to a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        self._watch(manager)
        return manager

    def _watch(self, manager: PoolManager) -> None:
        def use(connection: Any) -> None:
            self._connection = connection

        manager.pool_classes_by_scheme = {
            "http": _telling(HTTPConnectionPool, use),
            "https": _telling(HTTPSConnectionPool, use),
        }

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End the connection in use after so many seconds, whatever it waits for.

        Raises:
            requests.Timeout: that was done; whatever it led to is not told.
        """
        done, over = threading.Event(), threading.Event()

        def watch() -> None:
            if done.wait(seconds):
                return
            over.set()
            while not done.wait(0.05):  # again: a connection may be in the making
                _cut(self._connection)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        except Exception:
            if over.is_set():
                raise requests.Timeout("the whole takes too long") from None
            raise
        finally:
            done.set()
            watcher.join()
            self._connection = None
        if over.is_set():  # a connection that is cut may look like an answer that is over
            raise requests.Timeout("the whole takes too long")


def _telling(pool: Any, use: Callable[[Any], None]) -> Any:
    """A pool whose connections tell when they are made and when a request goes out."""

    class Connection(pool.ConnectionCls):
        def connect(self) -> None:
            use(self)
            super().connect()

        def request(self, *args: Any, **kwargs: Any) -> None:
            use(self)
            super().request(*args, **kwargs)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _cut(connection: Any) -> None:
    """Shut a connection's socket, so that whoever waits for it wakes; also below TLS, whose own state is left alone."""
    there = getattr(connection, "sock", None)
    if isinstance(there, socket.socket):
        with suppress(OSError):  # it is not connected yet, or not any more
            socket.socket.shutdown(there, socket.SHUT_RDWR)


def only_part(response: requests.Response) -> bytes:
    """The content of a multipart answer that has one part, or of one that is not multipart.

    Raises:
        ValueError: it has no part, or several.
    """
    boundary = _boundary(response)
    if boundary is None:
        return response.content
    edge = b"\r\n--" + boundary.encode()
    parts = (b"\r\n" + response.content).split(edge)[1:-1]
    if len(parts) != 1 or b"\r\n\r\n" not in parts[0]:
        raise ValueError(f"an answer of {len(parts)} parts")
    return parts[0].partition(b"\r\n\r\n")[2]


def _boundary(response: requests.Response) -> str | None:
    """What parts a multipart answer; None where it is of another kind, or does not say."""
    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    return header.get_boundary() if header.get_content_maintype() == "multipart" else None


def _cut_short(response: requests.Response) -> bool:
    """Whether an answer ends before its headers do, or a multipart one lacks its last boundary (RFC 2046, 5.1.1).

    Headers that break off count as whole for Python's parser, and the answer as empty, which a search would believe.
    """
    if not response.content and response.status_code == 200:
        return not {"content-length", "transfer-encoding"} & {name.lower() for name in response.headers}
    boundary = _boundary(response)
    if not boundary or not response.ok:
        return False
    return f"--{boundary}--".encode() not in response.content[-len(boundary) - 1024 :]

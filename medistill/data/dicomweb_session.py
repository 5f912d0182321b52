"""The connection to a DICOMweb service: answers of bounded size and time, no other host, nothing cut short."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.message import Message
from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

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
        longest: seconds that a whole answer may take.
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

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send, and read the answer whole.

        Raises:
            DataError: the answer leads elsewhere, or is too large.
            requests.RequestException: as usual; also where a multipart answer was cut short.
        """
        request.headers.pop("Host", None)  # dicomweb-client sets it without the port
        started = time.monotonic()
        with super().send(
            request, **{**kwargs, "stream": True, "allow_redirects": False, "timeout": self.timeouts}
        ) as response:
            if response.is_redirect:
                raise DataError(
                    f"{self.place} sends on to another address, which is not followed",
                    expected="an answer, since credentials and images go to the named address alone",
                    do="name the address that it sends to, if that is the service",
                )
            response._content = self._whole(response, started)
        if _cut_short(response):
            raise requests.exceptions.ChunkedEncodingError("the end is missing")
        return response

    def _whole(self, response: requests.Response, started: float) -> bytes:
        whole = bytearray()
        while piece := self._piece(response):
            whole += piece
            if len(whole) > LARGEST:
                raise DataError(
                    f"{self.place} gives an answer of more than {LARGEST // 2**20} MiB",
                    expected="single images, and lists of them",
                    do="check the address, and take what is no radiograph out of the table",
                )
            if time.monotonic() - started > self.longest:
                raise requests.Timeout("the answer takes too long")
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


def _cut_short(response: requests.Response) -> bool:
    """Whether an answer ends before its headers do, or a multipart one lacks its last boundary (RFC 2046, 5.1.1).

    Headers that break off count as whole for Python's parser, and the answer as empty, which a search would believe.
    """
    if not response.content and response.status_code == 200:
        return not {"content-length", "transfer-encoding"} & {name.lower() for name in response.headers}
    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    boundary = header.get_boundary()
    if header.get_content_maintype() != "multipart" or not boundary or not response.ok:
        return False
    return f"--{boundary}--".encode() not in response.content[-len(boundary) - 1024 :]

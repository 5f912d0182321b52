"""DICOMweb (PS3.18): ask a PACS which images it has (QIDO-RS), fetch them (WADO-RS) and send it some (STOW-RS).

No identifier that a service answers with is repeated in an error: messages name the service and the kind of fault.
"""

from __future__ import annotations

import io
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from medistill.data.dicom_file import read_data_set
from medistill.errors import DataError, MedistillError, UsageError

if TYPE_CHECKING:
    from pydicom import Dataset
    from requests import PreparedRequest

    from medistill.data.dicomweb_session import Session

UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)+")
FILTERS = ("BodyPartExamined", "Modality", "SOPClassUID", "StudyDate", "ViewPosition")
"""What an address may narrow a search by. Nothing of a patient: addresses stay in histories and logs."""
TRIES = 5
"""Times that a question is asked where the service is down, slow, in error (5xx, 408, 429) or breaks off."""
MOST_INSTANCES = 100_000
"""Largest number of images in one study that is believed."""
WHOLE_FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
TOKEN, USER, PASSWORD = "MEDISTILL_DICOMWEB_TOKEN", "MEDISTILL_DICOMWEB_USER", "MEDISTILL_DICOMWEB_PASSWORD"
T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """Where a DICOMweb service is, and which of its images are meant.

    Attributes:
        url: https, or http of this very machine; without a query.
        filters: DICOM keyword -> value that images must have.
    """

    url: str
    filters: Mapping[str, str]

    @classmethod
    def of(cls, text: str) -> Address:
        """Read an address, such as ``https://pacs.example/dicom-web?Modality=DX``.

        Raises:
            UsageError: it is none, is not encrypted, holds credentials, or searches for a patient.
        """
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise _no_address("it cannot be read") from None
        if parts.scheme not in ("https", "http") or not host or set("{}\\ ") & set(text):
            raise _no_address("it does not begin with https:// and the name of a machine")
        if parts.username is not None or parts.password is not None:
            raise UsageError(
                "the address of the DICOMweb service holds a user or a password, which stay in histories and logs",
                expected="credentials in the environment",
                do=f"set {TOKEN}, or {USER} and {PASSWORD}, and take them out of the address",
            )
        if parts.scheme == "http" and not is_this_machine(host):
            raise UsageError(
                "the address of the DICOMweb service is http: its images would travel in the open",
                expected="https (http is taken for this machine alone, as for a tunnel)",
                do="name the https address, or reach the service through a tunnel that ends on this machine",
            )
        filters = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.fragment or (parts.query and not filters) or any(name not in FILTERS for name in filters):
            raise UsageError(
                "the address of the DICOMweb service asks for something that is not offered",
                expected=f"a search by {', '.join(FILTERS)} alone",
                do="take the rest out of the address; single studies and images are named in the table of --labels",
            )
        return cls(parts._replace(query="").geturl().rstrip("/"), filters)


@dataclass(frozen=True)
class Instance:
    """An image in a PACS: its UIDs, which are kept in memory only."""

    study: str
    series: str
    instance: str


class DicomwebService:
    """A DICOMweb service, asked patiently and believed little.

    Credentials come from the environment. Certificates are always verified, against ``REQUESTS_CA_BUNDLE`` where that
    is set. No answer leads to another host, is endless, or takes for ever.

    Args:
        address: where it is; `find` and `of_study` narrow by its filters.
        pause: seconds before a question is asked a second time; doubled each time after.

    Raises:
        UsageError: dicomweb-client is not installed, or the credentials contradict each other.
    """

    def __init__(self, address: Address, *, pause: float = 1.0) -> None:
        try:
            from dicomweb_client import DICOMwebClient

            from medistill.data.dicomweb_session import LARGEST, Session
        except ImportError:
            raise UsageError(
                "dicomweb-client, which speaks to a PACS, is not installed",
                expected="the extra for DICOMweb",
                do="run `pip install 'medistill[dicomweb]'`",
            ) from None
        for name in ("dicomweb_client", "pydicom", "retrying", "urllib3"):  # they log addresses with UIDs, and headers
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._place = f"the DICOMweb service at {address.url}"
        self._url, self._filters = address.url, dict(address.filters)
        self._pause = pause
        self._session: Session = Session(self._place, credentials(os.environ))
        self._client = DICOMwebClient(address.url, session=self._session, permissive_uid=True, chunk_size=LARGEST)
        self._client.set_http_retry_params(retry=False)

    def of_study(self, study: str) -> list[Instance]:
        """All images of a study that the filters let through; none where the service does not know it.

        Raises:
            DataError: the service cannot be reached, refuses, or answers something else.
        """
        found: dict[str, Instance] = {}
        while len(found) <= MOST_INSTANCES:  # a service may give fewer at a time than there are, or ignore the offset
            new = {one.instance: one for one in self._search(study, {}, len(found)) if one.instance not in found}
            if not new:
                return list(found.values())
            found |= new
        raise self._wrong(f"a study with more than {MOST_INSTANCES} images")

    def find(self, instance: str) -> Instance | None:
        """The image of this SOP Instance UID; None where there is none, or the filters hold it back.

        Raises:
            DataError: as for `of_study`.
        """
        found = self._search(None, {"SOPInstanceUID": instance}, 0)
        if any(one.instance != instance for one in found):
            raise self._wrong("other images than those that were asked for")
        return found[0] if found else None

    def fetch(self, one: Instance) -> bytes | None:
        """The DICOM file of an image, coded as it is stored; None where the service does not have it any more.

        Raises:
            DataError: as for `of_study`, or another image came.
        """
        place = f"{self._url}/studies/{one.study}/series/{one.series}/instances/{one.instance}"
        content = self._ask(lambda: self._retrieved(place), gone=lambda: None)
        if content is None:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they quote the header
                read = read_data_set(io.BytesIO(content), only=("StudyInstanceUID", "SOPInstanceUID"))
                same = (read.get("StudyInstanceUID"), read.get("SOPInstanceUID")) == (one.study, one.instance)
        except Exception:  # noqa: BLE001  # pydicom raises many kinds; its words may quote the header
            raise self._wrong("something else than what was asked for") from None
        if not same:
            raise self._wrong("another image than the one that was asked for")
        return content

    def _retrieved(self, place: str) -> bytes:
        """The bytes of an image. The client would parse them, and unpack what is deflated to whatever it unpacks to."""
        from medistill.data.dicomweb_session import only_part

        response = self._session.get(place, headers={"Accept": WHOLE_FILES})
        response.raise_for_status()
        return only_part(response)

    def store(self, content: bytes) -> None:
        """Send a DICOM file. That it arrived is for a search to tell: not every service says so.

        Raises:
            DataError: the service cannot be reached, or does not take it.
        """
        from pydicom import dcmread

        sent = dcmread(io.BytesIO(content))
        reason = self._ask(lambda: _failure_reason(self._client.store_instances([sent])))
        if reason is not None:
            raise self._not_stored(f"failure reason 0x{reason:04X}")

    def _search(self, study: str | None, filters: dict[str, str], offset: int) -> list[Instance]:
        answer: Any = self._ask(
            lambda: self._client.search_for_instances(
                study_instance_uid=study, search_filters={**self._filters, **filters}, offset=offset or None
            ),
            gone=list,
        )
        try:
            found = [_instance(one, study) for one in answer]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise self._wrong("something else than a list of images") from None
        if study is not None and any(one.study != study for one in found):
            raise self._wrong("images of another study than the one that was asked for")
        return found

    def _ask(self, question: Callable[[], T], *, gone: Callable[[], T] | None = None) -> T:
        """Ask until there is an answer; ``gone`` gives it where the service says 404 or 410."""
        import requests

        why = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # pydicom's quote headers
                    return question()
            except MedistillError:
                raise
            except requests.HTTPError as error:
                status = getattr(error.response, "status_code", 500)
                if status in (404, 410) and gone is not None:
                    return gone()
                if status < 500 and status not in (408, 429):
                    raise self._refused(status) from None
                why = f"answered with the error {status}"
            except requests.exceptions.SSLError:
                raise DataError(
                    f"{self._place} cannot be trusted: its certificate was not verified",
                    expected="a certificate of a known authority, for the name in the address",
                    do="check the address; for an authority of your own, set REQUESTS_CA_BUNDLE to its certificate",
                ) from None
            except requests.Timeout:
                why = "did not answer in time"
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                why = "cannot be reached, or broke the connection off"
            except Exception:  # noqa: BLE001  # whatever a parser makes of an answer that is none; it may quote it
                raise self._wrong("something else than what was asked for") from None
        raise DataError(
            f"{self._place} {why}, {TRIES} times",
            expected="a service that works",
            do="repeat the command when it does: it goes on from where it was",
        )

    def _refused(self, status: int) -> DataError:
        if status in (401, 403):
            used = self._session.auth_name
            return DataError(
                f"{self._place} refuses access ({status}; {used})",
                expected="credentials that it knows, with the right to do this",
                do=f"check {TOKEN}, or {USER} and {PASSWORD}",
            )
        if status == 409:
            return self._not_stored("error 409")
        return DataError(
            f"{self._place} answered with the error {status}",
            expected="a DICOMweb service (QIDO-RS, WADO-RS, STOW-RS)",
            do="check the address up to its last part, often /dicom-web or /dicomweb",
        )

    def _not_stored(self, why: str) -> DataError:
        return DataError(
            f"{self._place} does not store an image ({why})",
            expected="that it takes Secondary Capture images",
            do="ask whoever runs it for its log of this minute; repeat the command afterwards",
        )

    def _wrong(self, what: str) -> DataError:
        return DataError(
            f"{self._place} answered with {what}",
            expected="what the standard says (DICOM PS3.18)",
            do="check that the address is that of the DICOMweb service itself, not of a page before it",
        )


def credentials(environment: Mapping[str, str]) -> tuple[str, Callable[[PreparedRequest], PreparedRequest]]:
    """What is used to get access, in words, and what adds it to a request.

    Raises:
        UsageError: there are two kinds, or half of one.
    """
    from requests.auth import HTTPBasicAuth

    token, user, password = (environment.get(name, "").strip() for name in (TOKEN, USER, PASSWORD))
    if (token and (user or password)) or bool(user) != bool(password):
        raise UsageError(
            f"the environment has {', '.join(name for name in (TOKEN, USER, PASSWORD) if environment.get(name))}",
            expected=f"{TOKEN}, or {USER} with {PASSWORD}, or none",
            do="unset what is not to be used",
        )
    if token:
        return f"the token of {TOKEN} was sent", _Bearer(token)
    if user:
        return f"{USER} and {PASSWORD} were sent", HTTPBasicAuth(user.encode(), password.encode())
    return "no credentials were sent", _nothing_added


class _Bearer:
    def __init__(self, token: str) -> None:
        self.header = f"Bearer {token}".encode()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = self.header
        return request


def _nothing_added(request: PreparedRequest) -> PreparedRequest:
    """Also keeps requests from looking for credentials in a .netrc, which nobody named."""
    return request


def _instance(answer: Mapping[str, Any], study: str | None) -> Instance:
    """An entry of a QIDO answer in DICOM JSON."""
    study, series, instance = (
        str(known if known is not None and tag not in answer else answer[tag]["Value"][0])
        for tag, known in (("0020000D", study), ("0020000E", None), ("00080018", None))
    )
    if not all(UID.fullmatch(uid) for uid in (study, series, instance)):
        raise ValueError("no UID")
    return Instance(study, series, instance)


def _failure_reason(answer: Dataset) -> int | None:
    """Why an image was not stored, from a STOW answer (PS3.18, 10.5.3); None where none failed."""
    failed = answer.get("FailedSOPSequence")
    return int(failed[0].get("FailureReason", 0)) if failed else None


def is_this_machine(host: str) -> bool:
    """Whether a host is a loopback address, or the name that stands for one."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_address(why: str) -> UsageError:
    return UsageError(
        f"the address of the DICOMweb service is none: {why}",
        expected="an address such as https://pacs.example/dicom-web",
        do="correct it",
    )

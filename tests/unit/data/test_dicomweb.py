"""A DICOMweb service on this machine that answers rightly, late, wrongly, too much, or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import socket
import ssl
import stat
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydicom import dcmread

pytest.importorskip("dicomweb_client", reason="the dicomweb extra is not installed")

from medistill.artifacts.cache import cache_root
from medistill.artifacts.purge import purge
from medistill.data import dicomweb_session
from medistill.data.dicomweb import PASSWORD, TOKEN, TRIES, USER, Address, DicomwebService
from medistill.errors import DataError, MedistillError, UsageError
from medistill.workflow.pull import pull
from tests.factories.deflated import deflated_from
from tests.fake_pacs import BOUNDARY, Answer, Handler, Pacs, listed, multipart, serving


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with serving(Pacs()) as pacs:
        yield pacs


def service(pacs: Pacs, query: str = "") -> DicomwebService:
    return DicomwebService(Address.of(pacs.url + query), pause=0.001)


def study_table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def by_study(pacs: Pacs, path: Path) -> Path:
    return study_table(
        path, [{"StudyInstanceUID": s, "class": "AB"[k % 2], "patient": f"p{k}"} for k, s in enumerate(pacs.studies)]
    )


def error(status: int) -> Answer:
    return lambda handler: handler.give(b"<html>no</html>", "text/html", status)


def cut(handler: Handler) -> bool:
    return handler.give(b"[", said=1000) and handler.close_connection is not None


def hang_up(handler: Handler) -> bool:
    handler.close_connection = True
    handler.server.shutdown_request(handler.request)  # type: ignore[attr-defined]
    return True


def cut_in_the_headers(handler: Handler) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nConte")
    handler.close_connection = True
    return True


def page(handler: Handler) -> bool:
    return handler.give(b"<html>Please log in</html>", "text/html")


def test_a_table_of_studies_becomes_a_private_folder(pacs: Pacs, tmp_path: Path) -> None:
    pulled = pull(pacs.url, by_study(pacs, tmp_path / "t.csv"), pause=0.001)
    with pulled.labels.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["patient"]) for row in rows] == [("A", "p0")] * 2 + [("B", "p1")] * 2 + [("A", "p2")] * 2
    got = {dcmread(pulled.folder / row["file"]).SOPInstanceUID: row["patient"] for row in rows}
    assert got == {instance: f"p{pacs.studies.index(study)}" for study, _, instance in pacs.files}
    assert len(list(pulled.folder.iterdir())) == 6
    for path in (cache_root() / "pulled").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert not any(word in str(path) for word in pacs.identifiers())
    for word in pacs.identifiers():
        assert word not in pulled.labels.read_text(encoding="utf-8")
    purge()
    assert not pulled.folder.exists()


def test_rows_may_name_images_and_the_same_pull_fetches_nothing_again(pacs: Pacs, tmp_path: Path) -> None:
    uids = list(pacs.files)
    rows = [
        {"SOPInstanceUID": uids[0][2], "StudyInstanceUID": "", "label": "A", "file": "unused"},
        {"SOPInstanceUID": uids[3][2], "StudyInstanceUID": uids[3][0], "label": "B", "file": "unused"},
        {"SOPInstanceUID": "1.2.3", "StudyInstanceUID": "", "label": "B", "file": "unused"},
    ]
    table = study_table(tmp_path / "t.csv", rows)
    pulled = pull(pacs.url, table, pause=0.001)
    assert {dcmread(file).SOPInstanceUID for file in pulled.folder.iterdir()} == {uids[0][2], uids[3][2]}
    text = pulled.labels.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "file,label"
    assert text.splitlines()[3] == "row 4 of the table,B"
    before = {file: file.stat().st_mtime_ns for file in pulled.folder.iterdir()}
    pacs.asked.clear()
    assert pull(pacs.url, table, pause=0.001) == pulled
    assert not [path for _, path, _ in pacs.asked if "/series/" in path]
    assert {file: file.stat().st_mtime_ns for file in pulled.folder.iterdir()} == before


def test_a_pull_that_broke_off_goes_on(pacs: Pacs, tmp_path: Path) -> None:
    table = by_study(pacs, tmp_path / "t.csv")
    fine = [lambda handler: False] * (2 * 3 + 2)  # two questions a study, then two images
    pacs.answers = [*fine, *[hang_up] * TRIES]
    with pytest.raises(DataError, match="broke the connection off, 5 times"):
        pull(pacs.url, table, pause=0.001)
    pacs.asked.clear()
    assert len(list(pull(pacs.url, table, pause=0.001).folder.iterdir())) == 6
    assert len([path for _, path, _ in pacs.asked if "/series/" in path]) == 4


def test_a_service_that_gives_few_at_a_time_is_asked_on(pacs: Pacs) -> None:
    pacs.page = 1
    assert len(service(pacs).of_study(pacs.studies[0])) == 2


def test_a_service_that_ignores_the_offset_is_not_asked_for_ever(pacs: Pacs) -> None:
    whole = [listed(uids) for uids in pacs.files if uids[0] == pacs.studies[0]]
    pacs.answers = [lambda handler: handler.give(json.dumps(whole).encode())] * 9
    assert len(service(pacs).of_study(pacs.studies[0])) == 2
    assert len(pacs.asked) == 2


def test_the_query_of_the_address_narrows_every_search(pacs: Pacs) -> None:
    service(pacs, "?Modality=DX&StudyDate=20240101-20241231").of_study(pacs.studies[0])
    asked = parse_qs(urlsplit(pacs.asked[0][1]).query)
    assert asked == {"Modality": ["DX"], "StudyDate": ["20240101-20241231"]}


@pytest.mark.parametrize("fault", [error(500), error(503), error(429), cut, cut_in_the_headers, hang_up])
def test_a_passing_fault_is_waited_out(pacs: Pacs, fault: Answer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    pacs.answers = [fault] * (TRIES - 1)
    assert len(service(pacs).of_study(pacs.studies[0])) == 2
    assert caplog.text == ""


@pytest.mark.parametrize("packed", [False, True])
def test_answers_in_chunks_and_packed_ones_are_read(pacs: Pacs, packed: bool) -> None:
    def in_chunks(handler: Handler) -> bool:
        content = json.dumps([listed(uids) for uids in pacs.files if uids[0] == pacs.studies[0]] * 40).encode()
        content = gzip.compress(content) if packed else content
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        if packed:
            handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        for n in range(0, len(content), 50):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece := content[n : n + 50]), piece))
        handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True
        return True

    pacs.answers = [in_chunks] * 2
    assert len(service(pacs).of_study(pacs.studies[0])) == 2


def test_a_small_answer_that_unpacks_to_a_large_one_is_refused(pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb_session, "LARGEST", 2**20)

    def bomb(handler: Handler) -> bool:
        content = gzip.compress(bytes(2**24))
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        return True

    pacs.answers = [bomb]
    with pytest.raises(DataError, match="more than 1 MiB"):
        service(pacs).find("1.2.3")


def test_the_pauses_grow(pacs: Pacs) -> None:
    pacs.answers = [error(500)] * (TRIES - 1)
    slow = DicomwebService(Address.of(pacs.url), pause=0.05)
    started = time.monotonic()
    slow.find("1.2.3")
    assert 0.05 * (1 + 2 + 4 + 8) <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answer", "said", "questions"),
    [
        (error(500), "answered with the error 500, 5 times", TRIES),
        (cut, "broke the connection off, 5 times", TRIES),
        (error(401), r"refuses access \(401; no credentials were sent\)", 1),
        (error(403), r"refuses access \(403", 1),
        (error(400), "the error 400", 1),
        (page, "something else", 1),
        (lambda handler: handler.give(b'{"a": 1}'), "something else than a list of images", 1),
        (lambda handler: handler.give(b"[1, 2]"), "something else than a list of images", 1),
        (lambda handler: handler.give(b"[" * 100_000), "something else", 1),
        (lambda h: h.give(json.dumps([listed(("../../x", "1.2", "1.2"))]).encode()), "something else than a list", 1),
        (lambda h: h.give(json.dumps([listed(("1.2", "1.2", "1.2"))]).encode()), "images of another study", 1),
    ],
)
def test_a_lasting_fault_of_a_search_is_told(pacs: Pacs, answer: Answer, said: str, questions: int) -> None:
    pacs.answers = [answer] * TRIES
    with pytest.raises(DataError, match=said) as told:
        service(pacs).of_study(pacs.studies[0])
    assert len(pacs.asked) == questions
    assert not any(word in str(told.value) for word in pacs.identifiers())
    assert told.value.__cause__ is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (page, "something else than what was asked for"),
        (lambda h: h.give(b"[]"), "something else than what was asked for"),
        (lambda h: h.give(multipart(b"no DICOM"), f"multipart/related; boundary={BOUNDARY}"), "something else"),
        (
            lambda h: h.give(multipart(list(h.pacs.files.values())[5]), f"multipart/related; boundary={BOUNDARY}"),
            "another image",
        ),
        (
            lambda h: h.give(
                multipart(next(iter(h.pacs.files.values())), closed=False), f"multipart/related; boundary={BOUNDARY}"
            ),
            "broke the connection off, 5 times",
        ),
    ],
)
def test_a_wrong_image_is_never_kept(pacs: Pacs, answer: Answer, said: str) -> None:
    asked = service(pacs)
    first = asked.of_study(pacs.studies[0])[0]
    pacs.answers = [answer] * TRIES
    with pytest.raises(DataError, match=said) as told:
        asked.fetch(first)
    assert not any(word in str(told.value) for word in pacs.identifiers())


def test_a_damaged_header_is_quoted_by_no_warning_and_no_log(pacs: Pacs, caplog: pytest.LogCaptureFixture) -> None:
    asked = service(pacs)
    first = asked.of_study(pacs.studies[0])[0]
    uids = (first.study, first.series, first.instance)
    text = dcmread(io.BytesIO(pacs.files[uids])).SpecificCharacterSet.encode()
    assert pacs.files[uids].count(text) == 1
    pacs.files[uids] = pacs.files[uids].replace(text, b"QUARKSMANN"[: len(text)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asked.fetch(first) is not None
    assert "QUARKS" not in caplog.text


def test_an_image_that_is_gone_is_listed_as_missing(pacs: Pacs, tmp_path: Path) -> None:
    pacs.answers = [*[lambda handler: False] * 6, error(404)]
    pulled = pull(pacs.url, by_study(pacs, tmp_path / "t.csv"), pause=0.001)
    assert len(list(pulled.folder.iterdir())) == 5
    assert len(pulled.labels.read_text(encoding="utf-8").splitlines()) == 1 + 6


def failed(reason: object) -> bytes:
    return json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}).encode()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda handler: handler.give(failed(0x0122), status=202), "failure reason 0x0122"),
        (lambda handler: handler.give(failed(0x0110), status=409), "does not store an image .error 409"),
        (lambda handler: handler.give(failed("a lot")), "something else"),
        (error(413), "the error 413"),
    ],
)
def test_an_image_that_is_not_stored_is_told(pacs: Pacs, answer: Answer, said: str) -> None:
    pacs.answers = [answer]
    with pytest.raises(DataError, match=said):
        service(pacs).store(next(iter(pacs.files.values())))


def test_sending_is_repeated_too(pacs: Pacs) -> None:
    pacs.answers = [error(500), cut, hang_up]
    service(pacs).store(next(iter(pacs.files.values())))
    assert [verb for verb, _, _ in pacs.asked] == ["POST"] * 4


def test_silence_and_a_trickle_end(pacs: Pacs) -> None:
    asked = service(pacs)
    asked._session.timeouts = (1.0, 0.1)
    pacs.answers = [lambda handler: time.sleep(0.4) is not None] * TRIES
    with pytest.raises(DataError, match="did not answer in time, 5 times"):
        asked.find("1.2.3")

    def trickle(handler: Handler) -> bool:
        handler.give(b"[", said=1000)
        for _ in range(40):
            time.sleep(0.02)
            try:
                handler.wfile.write(b" ")
            except OSError:
                break
        return True

    asked._session.timeouts, asked._session.longest = (1.0, 1.0), 0.1
    pacs.answers = [trickle] * TRIES
    with pytest.raises(DataError, match="did not answer in time, 5 times"):
        asked.find("1.2.3")


def dripping(handler: Handler, content: bytes, times: int) -> bool:
    """Send something over and over, as slowly as no timeout of a socket minds."""
    handler.close_connection = True
    for _ in range(times):
        try:
            handler.wfile.write(content)
        except OSError:
            break
        time.sleep(0.02)
    return True


def endless_redirect(handler: Handler) -> bool:
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    return dripping(handler, b"400\r\n" + b"x" * 1024 + b"\r\n", 200)


@pytest.mark.parametrize(
    "answer",
    [
        lambda h: dripping(h, b"H", 200),
        lambda h: h.wfile.write(b"HTTP/1.1 200 OK\r\n") and dripping(h, b"X", 200),
        lambda h: dripping(h, b"HTTP/1.1 100 Continue\r\n\r\n", 200),
        lambda h: h.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") and dripping(h, b"0", 200),
        lambda h: (
            h.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n") and dripping(h, b"T", 200)
        ),
    ],
    ids=["status line", "headers", "100 Continue", "length of a chunk", "trailer"],
)
def test_the_limit_of_time_covers_a_whole_request(pacs: Pacs, answer: Answer) -> None:
    asked = service(pacs)
    asked._session.timeouts, asked._session.longest = (1.0, 1.0), 0.2
    pacs.answers = [answer] * TRIES
    started = time.monotonic()
    with pytest.raises(DataError, match="did not answer in time, 5 times"):
        asked.find("1.2.3")
    assert time.monotonic() - started < 3.5  # each answer alone would take 4
    assert asked.of_study(pacs.studies[0])  # and a service that mends itself is understood again


def test_a_redirect_is_not_read_to_its_end(pacs: Pacs) -> None:
    pacs.answers = [endless_redirect]
    started = time.monotonic()
    with pytest.raises(DataError, match="another address, which is not followed"):
        service(pacs).find("1.2.3")
    assert time.monotonic() - started < 2


def test_a_handshake_that_never_ends_ends(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def shake() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                    with peer:
                        for byte in b"\x16\x03\x03\x40\x00" + bytes(200):
                            peer.sendall(bytes([byte]))
                            time.sleep(0.02)
                except OSError:
                    if listening.fileno() < 0:
                        return

        threading.Thread(target=shake, daemon=True).start()
        port = listening.getsockname()[1]
        asked = DicomwebService(Address.of(f"https://127.0.0.1:{port}/dicom-web"), pause=0.001)
        asked._session.timeouts, asked._session.longest = (0.3, 0.3), 0.3
        started = time.monotonic()
        with pytest.raises(DataError):
            asked.find("1.2.3")
        assert time.monotonic() - started < 3.5


@pytest.mark.parametrize("named", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "https_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_reached_by_no_proxy(
    pacs: Pacs, monkeypatch: pytest.MonkeyPatch, named: str, host: str
) -> None:
    monkeypatch.setenv(TOKEN, "secret-token")
    with serving(Pacs()) as proxy:
        monkeypatch.setenv(named, proxy.url.removesuffix("/dicom-web"))
        pacs.url = pacs.url.replace("127.0.0.1", host)
        assert len(service(pacs).of_study(pacs.studies[0])) == 2
        assert proxy.asked == []
    assert {auth for _, _, auth in pacs.asked} == {"Bearer secret-token"}


def test_a_proxy_sees_no_credentials_of_an_encrypted_service(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    seen.append(peer.recv(65536))
                    peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv(TOKEN, "secret-token")
        with pytest.raises(DataError, match="cannot be reached"):
            DicomwebService(Address.of("https://pacs.example/dicom-web"), pause=0.001).find("1.2.3")
    assert seen
    assert all(one.startswith(b"CONNECT pacs.example:443") and b"secret-token" not in one for one in seen)


def test_a_deflated_bomb_of_a_pacs_is_not_unpacked_here(pacs: Pacs, tmp_path: Path) -> None:
    uids = next(iter(pacs.files))
    (tmp_path / "a.dcm").write_bytes(pacs.files[uids])
    bomb = deflated_from(tmp_path / "a.dcm", 100)
    pacs.files[uids] = bomb
    asked = service(pacs)
    first = next(one for one in asked.of_study(uids[0]) if one.instance == uids[2])
    tracemalloc.start()
    try:
        assert asked.fetch(first) == bomb
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def test_an_answer_too_large_is_not_swallowed(pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb_session, "LARGEST", 2**20)
    pacs.answers = [lambda handler: handler.give(b" " * (2**20 + 1))]
    with pytest.raises(DataError, match="more than 1 MiB"):
        service(pacs).find("1.2.3")


def test_credentials_go_to_the_named_service_alone(pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Pacs()) as other:

        def lead_on(handler: Handler) -> bool:
            handler.send_response(302)
            handler.send_header("Location", f"{other.url}/instances")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        monkeypatch.setenv(TOKEN, "secret-token")
        pacs.answers = [lead_on]
        with pytest.raises(DataError, match="another address, which is not followed"):
            service(pacs).find("1.2.3")
    assert pacs.asked[0][2] == "Bearer secret-token"
    assert other.asked == []


def test_user_and_password_and_none(pacs: Pacs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    service(pacs).find("1.2.3")
    monkeypatch.setenv(USER, "müller")
    with pytest.raises(UsageError, match=USER):
        service(pacs)
    monkeypatch.setenv(PASSWORD, "geheim")
    pacs.answers = [error(401)]
    with pytest.raises(DataError, match=f"{USER} and {PASSWORD} were sent") as told:
        service(pacs).find("1.2.3")
    assert "geheim" not in str(told.value)
    assert [auth for _, _, auth in pacs.asked] == ["", "Basic bcO8bGxlcjpnZWhlaW0="]
    monkeypatch.setenv(TOKEN, "t")
    with pytest.raises(UsageError, match="or none"):
        service(pacs)


def test_a_certificate_is_verified_and_an_authority_of_ones_own_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "made.pem").write_bytes(made)
    (tmp_path / "both.pem").write_bytes(secret + made)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "both.pem")
    monkeypatch.setenv(TOKEN, "secret-token")
    with serving(Pacs(), tls) as pacs:
        with pytest.raises(DataError, match="its certificate was not verified"):
            service(pacs).find("1.2.3")
        assert pacs.asked == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "made.pem"))
        assert len(service(pacs).of_study(pacs.studies[0])) == 2


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be reached"):
        DicomwebService(Address.of("http://127.0.0.1:9/dicom-web"), pause=0.001).find("1.2.3")


@pytest.mark.parametrize(
    "text",
    [
        "pacs.example/dicom-web",
        "ftp://pacs.example",
        "http://pacs.example/dicom-web",
        "http://10.0.0.1/dicom-web",
        "https://user:secret@pacs.example/",
        "https://pacs.example/dicom-web?PatientID=17",
        "https://pacs.example/dicom-web?StudyInstanceUID=1.2",
        "https://pacs.example/dicom-web#top",
        "https://pacs.example/{x}",
        "https://[::1",
        "https://pacs.example:port/",
    ],
)
def test_addresses_that_are_not_taken(text: str) -> None:
    with pytest.raises(UsageError) as told:
        Address.of(text)
    assert "secret" not in str(told.value)


def test_addresses_that_are_taken() -> None:
    assert Address.of("https://pacs.example:8443/dicom-web/").url == "https://pacs.example:8443/dicom-web"
    for machine in ("localhost", "127.0.0.1", "[::1]"):
        assert Address.of(f"http://{machine}:8042/dicom-web").url == f"http://{machine}:8042/dicom-web"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"file": "a.dcm", "label": "A"}], "no column of UIDs"),
        ([{"StudyInstanceUID": "Doe^John", "label": "A"}], "row 2 of .* names no study and no image"),
        ([{"StudyInstanceUID": "", "label": "A"}], "row 2"),
        ([{"StudyInstanceUID": "1.2.3", "label": "A"}], "none of the 1 rows"),
    ],
)
def test_tables_that_name_nothing(pacs: Pacs, tmp_path: Path, rows: list[dict[str, str]], said: str) -> None:
    with pytest.raises(MedistillError, match=said) as told:
        pull(pacs.url, study_table(tmp_path / "t.csv", rows), pause=0.001)
    assert "Doe" not in str(told.value)

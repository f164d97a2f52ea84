"""Bodies that come slowly or many at once: a publisher's token must not hold the portal's threads."""

from __future__ import annotations

import runpy
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.test import Client
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import SocketUnreader

from attestations import publish_api
from attestations.asset_http import Patience
from attestations.domain.publication_errors import UploadsBusy, UploadTooSlow
from attestations.models import Publication
from attestations.patient_body import PatientBody
from attestations.upload_places import MOST_OF_AN_ACCOUNT, MOST_UPLOADS, UploadPlaces
from builds.models import Project
from tests.support.accounts import account_named
from tests.support.publishing import files, headers, publisher_token, send

_LENGTH = 1_000_000
QUICK = Patience(idle=0.3, grace=0.6, bytes_per_second=200_000)


@contextmanager
def uploading(pieces: Iterator[tuple[bytes, float]]) -> Iterator[tuple[WSGIRequest, socket.socket]]:
    """A request as gunicorn hands it over, whose sender sends each piece and then sleeps; and the portal's socket."""
    client, server = socket.socketpair()

    def drip() -> None:
        with suppress(OSError):
            for piece, pause in pieces:
                client.sendall(piece)
                time.sleep(pause)

    sender = threading.Thread(target=drip, daemon=True)
    sender.start()
    body = Body(LengthReader(SocketUnreader(server), _LENGTH))
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "CONTENT_LENGTH": str(_LENGTH),
        "wsgi.input": body,
        "gunicorn.socket": server,
    }
    try:
        yield WSGIRequest(environ), server
        if server.fileno() >= 0:
            server.sendall(b"HTTP/1.1 ")
            assert client.recv(9) == b"HTTP/1.1 ", "an answer can be sent"
    finally:
        client.close()
        server.close()
        sender.join()


def endless(piece: bytes, pause: float) -> Iterator[tuple[bytes, float]]:
    while True:
        yield piece, pause


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: iter([(b"x" * 100, 2.0)]),
        lambda: endless(b"x", 0.05),
        lambda: endless(b"x" * 5000, 0.05),
        lambda: iter([(b"x" * 500_000, 2.0)]),
    ],
    ids=["nothing more", "a byte at a time", "too few a second", "much and then nothing"],
)
def test_a_sender_that_tries_the_patience_is_told_so(pieces: Any) -> None:
    began = time.monotonic()
    with uploading(pieces()) as (request, server):
        before = server.gettimeout()
        with PatientBody(request, QUICK, looked_every=0.05).held_to_it() as body, pytest.raises(UploadTooSlow):
            body.read()
        assert server.gettimeout() == before
        assert time.monotonic() - began < 3


def test_a_sender_that_is_fast_enough_is_read_to_its_end_whatever_the_portal_does_meanwhile() -> None:
    with uploading(iter([(b"x" * 250_000, 0.2)] * 4)) as (request, _):
        with PatientBody(request, QUICK, looked_every=0.05).held_to_it() as body:
            first = body.read(200_000)
            time.sleep(1.0)
            rest = body.read()
        assert first + rest == b"x" * _LENGTH


def test_uploads_keep_fewer_than_a_quarter_of_a_processs_threads() -> None:
    threads = runpy.run_path(str(Path(settings.BASE_DIR) / "gunicorn.conf.py"))["threads"]
    assert threads > 4 * MOST_UPLOADS


def test_places_are_counted_for_all_and_for_each_account_and_given_back() -> None:
    places = UploadPlaces(patience=0.05)
    with ExitStack() as stack:
        for _ in range(MOST_OF_AN_ACCOUNT):
            stack.enter_context(places.place(1))
        with pytest.raises(UploadsBusy), places.place(1):
            pass
        for account in range(2, 2 + MOST_UPLOADS - MOST_OF_AN_ACCOUNT):
            stack.enter_context(places.place(account))
        with pytest.raises(UploadsBusy), places.place(99):
            pass
    with places.place(1):
        pass


def test_who_waits_gets_the_place_that_becomes_free_and_only_a_few_wait() -> None:
    places, found = UploadPlaces(most=1, patience=5.0), []

    def ask() -> None:
        try:
            with places.place(2):
                found.append("place")
        except UploadsBusy:
            found.append("busy")

    with places.place(1):
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(found) < 2:
            time.sleep(0.01)
        assert found == ["busy"] * 2
    for thread in threads:
        thread.join()
    assert found[2:] == ["place"] * 6


@pytest.mark.django_db
@pytest.mark.parametrize("form", ["files", "addresses"])
def test_who_finds_no_place_is_refused_before_the_body_is_read(
    project: Project, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    secret, places = publisher_token(project), UploadPlaces(patience=0.0)
    monkeypatch.setattr(publish_api, "PLACES", places)
    read: list[int] = []
    monkeypatch.setattr(PatientBody, "read", lambda _body, size=None: read.append(size) or b"")
    with ExitStack() as stack:
        for _ in range(MOST_OF_AN_ACCOUNT):
            stack.enter_context(places.place(account_named("ada").pk))
        if form == "files":
            answer = send(secret, files())
        else:
            answer = Client().post("/api/v1/releases", "{}", content_type="application/json", headers=headers(secret))
    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "uploads-busy", "15")
    assert (read, Publication.objects.count()) == ([], 0)


@pytest.mark.django_db
def test_a_slow_upload_is_refused_by_name_and_leaves_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(PatientBody.__init__, "__defaults__", (Patience(grace=-1.0, bytes_per_second=1 << 60),))
    answer = send(publisher_token(project), files())
    assert (answer.status_code, answer.json()["code"]) == (408, "upload-too-slow")
    assert Publication.objects.count() == 0
    assert not settings.WORK_DIR.is_dir() or not list(settings.WORK_DIR.iterdir())

"""Names of uploaded files that are not UTF-8: refused by name, neither repaired nor passed over."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from attestations import tasks, uploads
from attestations.models import Publication
from builds.models import Project
from tests.portal.test_publishing import FIELDS, FILE, left, raw, refused
from tests.support.publishing import publisher_token

pytestmark = pytest.mark.django_db
END = b"--b--\r\n"


@pytest.fixture
def secret(project: Project, monkeypatch: pytest.MonkeyPatch) -> str:
    told: list[uuid.UUID] = []
    monkeypatch.setattr(tasks, "hint_publication", told.append)
    return publisher_token(project)


def part(named: bytes, value: bytes = b"a kernel") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="f"; ' + named + b"\r\n\r\n" + value + b"\r\n"


@pytest.mark.parametrize("chunk", [2**20, 1, 7, 100])
@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (b'filename="vmlinuz\xff"', (422, "announcement-refused")),
        (b'filename="vml\xc3\x28inuz"', (422, "announcement-refused")),
        (b"filename*=utf-8''vmlinuz%FF", (400, "unsafe-path")),
        ('filename="vmlinuz\ufffd"'.encode(), (400, "unsafe-path")),
    ],
)
def test_a_name_that_is_not_utf_8_is_refused(
    secret: str, settings: Any, monkeypatch: pytest.MonkeyPatch, chunk: int, named: bytes, expected: tuple[int, str]
) -> None:
    monkeypatch.setattr(uploads._ToSpool, "chunk_size", chunk)
    for body in (FIELDS + FILE + part(named) + END, FIELDS + part(named) + FILE + END):
        assert refused(raw(secret, body)) == expected
    assert not Publication.objects.exists()
    assert left(settings) == []


@pytest.mark.parametrize("chunk", [2**20, 7, 100])
def test_a_name_in_utf_8_and_bytes_of_every_kind_are_taken(
    secret: str, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(uploads._ToSpool, "chunk_size", chunk)
    every = bytes(range(256)) * 40 + b"\r\n\r\n--\xff\r\n--a\xff\r\n\r\n"
    body = FIELDS + FILE + part('filename="größe.bin"'.encode(), every) + part(b'filename="b"', every) + END
    assert raw(secret, body).status_code == 202
    assert [file["size"] for file in Publication.objects.get().files][1:] == [len(every)] * 2

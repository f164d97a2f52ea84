"""By what an answer is kept: the question as it is understood, of a host that is the portal's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from builds.models import Release
from builds.services import measurement_index
from tee_portal import kept_answers
from tee_portal.kept_answers import note_state
from tests.portal.test_kept_answers import ADDRESSES, asked
from tests.support.operators import MEASUREMENT

MEASUREMENT_ADDRESS = f"/api/v1/measurements/{MEASUREMENT}"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "spelt"),
    [
        (ADDRESSES[0], f"{ADDRESSES[0]}?&&"),
        (ADDRESSES[1], f"{ADDRESSES[1]}?&"),
        (f"{ADDRESSES[2]}?format=json&project=enclave", f"{ADDRESSES[2]}?&project=%65nclave&&format=json"),
        (MEASUREMENT_ADDRESS, f"/api/v1/measurements/0x{MEASUREMENT.upper()}"),
        (f"{MEASUREMENT_ADDRESS}?project=enclave", f"/api/v1/measurements/%20{MEASUREMENT.title()}?project=enclave&"),
    ],
)
def test_one_question_has_one_kept_answer_however_it_is_spelt(
    client: Client, make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch, address: str, spelt: str
) -> None:
    make_release()
    # As for a measurement that is indexed.
    monkeypatch.setattr(measurement_index, "state_of", lambda value: value)
    first = client.get(address)
    assert first.status_code == 200
    with CaptureQueriesContext(connection) as captured:
        again = client.get(spelt)
    assert (again.content, len(kept_answers._store)) == (first.content, 1)
    assert len(captured) <= 2, "what it follows from is all that is read"


@pytest.mark.django_db
def test_questions_that_differ_in_a_value_are_kept_apart(client: Client, make_release: Callable[..., Release]) -> None:
    make_release()
    for query in ("limit=1", "limit=2", "policy=limit%3D1", "limit=1&limit=2", ""):
        client.get(f"{ADDRESSES[0]}?{query}")
    assert len(kept_answers._store) == 3


@pytest.mark.django_db
def test_a_host_that_is_not_the_portals_is_given_no_kept_answer(
    client: Client, make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_release()
    public = settings.ENVIRONMENT.model_copy(update={"public_url": "https://portal.example"})
    monkeypatch.setattr(settings, "ENVIRONMENT", public)
    assert client.get(ADDRESSES[0], HTTP_HOST="evil.example").status_code == 400
    assert client.get(ADDRESSES[0]).status_code == 200
    assert client.get(ADDRESSES[0], HTTP_HOST="evil.example").status_code == 400


def test_the_bytes_of_a_question_and_of_fields_are_counted() -> None:
    def make(request: HttpRequest) -> HttpResponse:
        return note_state(request, lambda _request: "one") or HttpResponse("1", headers={"Link": "x" * 3000})

    asked(make, f"/api/v1/x?q={'y' * 5000}")
    assert kept_answers._store.currsize > 8000

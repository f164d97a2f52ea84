"""The description of the API: the one in the repository is the one that is served, and says what the API does."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client

from tee_portal.api import api

COMMITTED = Path(settings.BASE_DIR) / "docs" / "openapi.json"


def test_the_committed_description_is_what_the_command_writes(tmp_path: Path) -> None:
    call_command("openapi", tmp_path / "now.json", stdout=io.StringIO())
    assert (tmp_path / "now.json").read_bytes() == COMMITTED.read_bytes(), "run manage.py openapi and commit the file"


@pytest.mark.django_db
def test_it_is_served_as_it_is_committed(client: Client) -> None:
    answer = client.get("/api/v1/openapi.json")
    assert answer["Content-Type"] == "application/json"
    assert answer.content == COMMITTED.read_bytes()
    assert client.get("/api/v1/openapi.json?x=1").status_code == 422


def test_it_has_every_operation_and_what_each_refuses_with() -> None:
    described = json.loads(COMMITTED.read_bytes())
    assert described["openapi"] == "3.1.0"
    told = [told for item in described["paths"].values() for told in item.values()]
    wanted = [
        operation
        for bound in api._get_bound_routers()
        for view in bound.path_operations.values()
        for operation in view.operations
        if operation.include_in_schema
    ]
    assert len(told) == len(wanted)
    for operation in told:
        assert "application/problem+json" in operation["responses"]["default"]["content"]
        assert operation["description"], operation["operationId"]
    assert len({operation["operationId"] for operation in told}) == len(told)

"""The description of the API: the one in the repository is the one that is served, and says what the API does."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client

from tee_portal.api import api

WITHOUT_BODY = ("/cancel", "/retry", "/give-back")
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


def described() -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and what is said of every operation."""
    paths = json.loads(COMMITTED.read_bytes())["paths"]
    return [(method.upper(), path, told) for path, item in paths.items() for method, told in item.items()]


NAMES = [f"{method} {path}" for method, path, _ in described()]


@pytest.mark.parametrize(("method", "path", "told"), described(), ids=NAMES)
def test_what_is_said_of_an_operation_is_what_every_answer_of_it_holds_to(
    method: str, path: str, told: dict[str, Any]
) -> None:
    answers = told["responses"]
    assert {"400", "422", "429", "503", "default"} <= answers.keys()
    assert "404" in answers or "{" not in path
    assert ("413" in answers) == ("requestBody" in told)
    for status, answer in answers.items():
        if status.startswith("2"):
            assert {"RateLimit", "RateLimit-Policy"} <= answer["headers"].keys()
    if method == "GET":
        assert {"ETag", "Cache-Control"} <= answers["200"]["headers"].keys()
    # Where something is sent along, what it looks like is said, also where the operation reads its bytes by itself.
    assert "requestBody" in told or method != "POST" or path.endswith(WITHOUT_BODY)


@pytest.mark.parametrize(("method", "path", "told"), described(), ids=NAMES)
def test_no_parameter_is_null_which_an_address_cannot_hold(method: str, path: str, told: dict[str, Any]) -> None:
    for parameter in told["parameters"]:
        assert "null" not in json.dumps(parameter["schema"]), parameter["name"]


def test_every_reference_of_it_leads_somewhere() -> None:
    text = COMMITTED.read_text()
    schemas = json.loads(text)["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert used <= schemas.keys()
    assert '"#/$defs/' not in text

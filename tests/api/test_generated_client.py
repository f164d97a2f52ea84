"""A client that a public generator makes of docs/openapi.json works against a served portal."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tee_portal.env import BASE_DIR
from tests.api.conftest import Served

pytestmark = pytest.mark.slow

DESCRIPTION = BASE_DIR / "docs" / "openapi.json"
_CONFIG = "project_name_override: generated-client\npackage_name_override: generated_client\npost_hooks: []\n"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the generated package is, made from the description as it is committed."""
    root = tmp_path_factory.mktemp("client")
    config = root / "config.yaml"
    config.write_text(_CONFIG)
    command = [str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--path", str(DESCRIPTION)]
    made = subprocess.run(
        [*command, "--config", str(config), "--output-path", str(root / "made"), "--fail-on-warning"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return root / "made"


@dataclass(frozen=True)
class Generated:
    """The package's modules by their operation's name, and clients without and with a token."""

    address: str
    package: ModuleType
    opened: ExitStack

    def operation(self, name: str) -> Any:
        """The generated module of the operation with this id."""
        return importlib.import_module(f"{self.package.__name__}.api.default.{name}")

    def model(self, name: str) -> Any:
        return getattr(importlib.import_module(f"{self.package.__name__}.models"), name)

    @property
    def anybody(self) -> Any:
        return self.opened.enter_context(self.package.Client(base_url=self.address))

    def holding(self, secret: str) -> Any:
        return self.opened.enter_context(self.package.AuthenticatedClient(base_url=self.address, token=secret))


@pytest.fixture(scope="module")
def generated(package: Path, served: Served) -> Iterator[Generated]:
    sys.path.insert(0, str(package))
    try:
        with ExitStack() as opened:
            yield Generated(served.portal.address, importlib.import_module("generated_client"), opened)
    finally:
        sys.path.remove(str(package))


def test_every_operation_of_the_description_is_generated(package: Path) -> None:
    described = json.loads(DESCRIPTION.read_bytes())
    wanted = {told["operationId"] for item in described["paths"].values() for told in item.values()}
    made = {path.stem for path in (package / "generated_client" / "api").rglob("*.py")} - {"__init__"}
    assert made == wanted


def test_its_types_hold(package: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", os.devnull, "--config-file", os.devnull, "generated_client"],
        cwd=package, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_a_measurement_is_looked_up(generated: Generated, served: Served) -> None:
    value = served.facts["measurement"]
    found = generated.operation("builds_measurement_api_measurement").sync(
        value, client=generated.anybody, project="enclave"
    )
    assert (found.measurement, found.decision) == (value, "allow")
    assert [(giver.project, giver.tag, giver.is_default) for giver in found.given_by] == [("enclave", "v1.0.0", True)]


@pytest.mark.parametrize(
    ("tag", "decision", "unmet"),
    [("v1.0.0", "allow", False), ("v1.0.1", "deny", True), ("v1/rc+1", "deny", True)],
)
def test_a_verdict_is_read(generated: Generated, tag: str, decision: str, unmet: bool) -> None:
    operation = generated.operation("attestations_verdict_api_release_verdict")
    found = operation.sync("enclave", tag, client=generated.anybody)
    assert (found.decision, bool(found.unmet)) == (decision, unmet)
    assert len(found.axes) == 6


def test_releases_are_read_page_by_page(generated: Generated) -> None:
    operation, tags, cursor = generated.operation("builds_api_releases"), [], generated.package.types.UNSET
    for _ in range(5):
        page = operation.sync(client=generated.anybody, limit=1, before=cursor)
        tags += [release.tag for release in page.releases]
        cursor = page.next_
        if cursor is None:
            break
    assert tags == ["v1/rc+1", "v1.0.1", "v1.0.0"]


def test_a_rebuild_is_asked_for_once_however_often_the_request_is_sent(generated: Generated, served: Served) -> None:
    operation = generated.operation("builds_account_api_request_rebuild")
    client = generated.holding(served.token("rebuild:trigger"))
    wish, key = generated.model("RebuildWish")(project="enclave", tag="v1/rc+1"), str(uuid.uuid4())
    first, again = (operation.sync_detailed(client=client, body=wish, idempotency_key=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.parsed.id == again.parsed.id
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    watched = generated.operation("builds_api_rebuild").sync(first.parsed.id, client=generated.anybody)
    assert (watched.tag, watched.state) == ("v1/rc+1", "queued")


def test_webhooks_are_made_listed_and_deleted(generated: Generated, served: Served) -> None:
    client = generated.holding(served.token("webhook:manage"))
    wish = generated.model("WebhookWish")(url=f"https://hooks.example/{uuid.uuid4()}")
    made = generated.operation("attestations_webhook_api_add_webhook").sync(client=client, body=wish)
    assert made.secret.startswith("whsec_")
    listing = generated.operation("attestations_webhook_api_webhooks")
    assert made.id in {row.id for row in listing.sync(client=client).webhooks}
    deleted = generated.operation("attestations_webhook_api_delete_webhook").sync_detailed(made.id, client=client)
    assert deleted.status_code == 204
    assert made.id not in {row.id for row in listing.sync(client=client).webhooks}


def test_refusals_are_read_as_problems(generated: Generated, served: Served) -> None:
    problem = generated.model("Problem")
    unknown = generated.operation("attestations_verdict_api_release_verdict").sync(
        "enclave", "v9", client=generated.anybody
    )
    assert isinstance(unknown, problem)
    assert (unknown.status, unknown.code, unknown.decision) == (404, "not-found", "deny")
    asking = generated.operation("builds_account_api_request_rebuild")
    wish = generated.model("RebuildWish")(project="enclave", tag="v1.0.0")
    wrong = asking.sync(client=generated.holding(served.token("webhook:manage")), body=wish)
    nobody = asking.sync(client=generated.holding("teep_" + "a" * 43), body=wish)
    assert [(told.status, told.code) for told in (wrong, nobody)] == [(403, "scope-missing"), (401, "token-unknown")]
    unread = asking.sync(
        client=generated.holding(served.token("rebuild:trigger")), body=generated.model("RebuildWish")(" ", "v1")
    )
    assert (unread.status, unread.code) == (422, "malformed-question")

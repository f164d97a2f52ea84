"""Schemathesis asks the served portal everything that the API's description allows and much that it forbids, and
finds nothing: with every check, by whoever has no token, one for each scope, and one for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builds.domain.access import Scope
from tee_portal.env import BASE_DIR
from tee_portal.problem_kinds import known_problems
from tests.api.conftest import Served
from tests.api.schemathesis_hooks import UNSAYABLE

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
_BEARER = '\n[auth.openapi.ScopedToken]\nbearer = "${TOKEN}"\n'


def asked(served: Served, folder: Path, token: str | None, *options: str) -> str:
    """What schemathesis says at its end; fails with all that it says when it finds anything."""
    config = (HERE / "schemathesis.toml").read_text() + (_BEARER if token is not None else "")
    (folder / "schemathesis.toml").write_text(config)
    facts = served.facts
    seeded = {
        "value": facts["measurement"],
        "digest": f"sha256:{facts['kernel']}",
        "slug": "alder",
        "rebuild_id": facts["succeeded"],
        "/api/v1/attestations/{sha256} sha256": facts["bundle"],
        "/api/v1/statements/{sha256} sha256": facts["statement"],
    }
    environment = {
        **os.environ,
        "PYTHONPATH": str(BASE_DIR),
        "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
        "SEEDED": json.dumps(seeded),
        "TOKEN": token or "",
    }
    command = [str(Path(sys.executable).parent / "st"), "--no-color", "--config-file", "schemathesis.toml", "run"]
    ran = subprocess.run(
        [*command, f"{served.api}/openapi.json", *options],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
    return ran.stdout


def operations() -> dict[str, bool]:
    """Every operation of the description, and whether it asks for a token."""
    paths = json.loads((BASE_DIR / "docs" / "openapi.json").read_bytes())["paths"]
    return {
        f"{method.upper()} {path}": "security" in told for path, item in paths.items() for method, told in item.items()
    }


_CANCEL = "POST /api/v1/rebuilds/{rebuild_id}/cancel"
SCOPED = [name for name, asks in operations().items() if asks]


@pytest.mark.parametrize("holds", ["nothing", "everything"])
def test_it_finds_nothing_in_any_operation(served: Served, tmp_path: Path, holds: str) -> None:
    token = served.facts["everything"] if holds == "everything" else None
    said = asked(served, tmp_path, token, "--max-examples", "3")
    assert f"Tested: {len(operations())}\n" in said
    assert all(f"✅ {phase}" in said for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"))
    # What a token opens was opened; only rebuilds that others asked for stay theirs.
    unopened = said.partition("Authentication failed")[2].partition("💡")[0]
    assert token is None or {name for name in SCOPED if f"- {name}\n" in unopened} <= {_CANCEL}


@pytest.mark.parametrize("scope", list(Scope))
def test_it_finds_nothing_where_a_token_of_one_scope_is_asked_for(served: Served, tmp_path: Path, scope: Scope) -> None:
    chosen = [part for name in SCOPED for part in ("--include-name", name)]
    said = asked(served, tmp_path, served.token(scope), *chosen, "--max-examples", "3", "--phases", "examples,fuzzing")
    assert f"Tested: {len(SCOPED)}\n" in said


def test_what_no_schema_can_say_are_refusals_that_there_are() -> None:
    assert UNSAYABLE.keys() <= known_problems().keys()
    assert all(UNSAYABLE.values())

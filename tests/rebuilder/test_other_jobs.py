"""A portal that answers with another release than it was asked for: nothing is built, and nothing is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builds.domain.answers import ListedRelease
from builds.domain.job import MalformedJob, OtherJob
from builds.domain.requests import ReleaseName
from builds.rebuilder import commands
from builds.rebuilder.portal_client import PortalClient
from tests.support.false_portal import false_portal
from tests.support.lone_agent import TAKEN, claim_document, desk, job_document

ASKED = ReleaseName(project="enclave", tag="v1.0.0")
OTHERS = [job_document(tag="v0.9.0"), job_document(project="elsewhere"), job_document("elsewhere", "v0.9.0")]


def answers(*, listed: tuple[str, str] = ("enclave", "v1.0.0"), job: dict[str, Any]) -> Callable[[str], bytes]:
    """A portal that lists one release and gives one job, whatever it is asked for."""

    def body(path: str) -> bytes:
        if path.startswith("/api/v1/jobs/"):
            return json.dumps(job).encode()
        if path.startswith("/api/v1/jobs"):
            return json.dumps({"releases": [dict(zip(("project", "tag"), listed, strict=True))]}).encode()
        if path.startswith("/api/v1/claims"):
            return json.dumps(claim_document(job)).encode()
        return TAKEN if path.startswith("/api/v1/statements") else b'{"answer": "go-on"}'

    return body


@pytest.mark.parametrize("other", OTHERS)
def test_the_job_of_another_release_is_not_rebuilt_and_no_success_is_said(
    other: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        false_portal(answers(job=other)) as portal,
        desk(tmp_path, portal.address, monkeypatch) as it,
        pytest.raises(OtherJob, match=r"not about enclave v1\.0\.0"),
    ):
        commands.rebuild(it.agent, it.client, ASKED, None, it.said.append)
    assert (it.rebuilt, it.said) == ([], [])
    assert issubclass(OtherJob, MalformedJob)


@pytest.mark.parametrize("listed", [("enclave", "v0.9.0"), ("elsewhere", "v1.0.0")])
def test_a_list_that_names_another_release_than_was_asked_for_is_refused(listed: tuple[str, str]) -> None:
    with (
        false_portal(answers(listed=listed, job=job_document(*listed))) as portal,
        PortalClient(portal.address) as client,
        pytest.raises(OtherJob),
    ):
        commands.find_release(client, "v1.0.0", "enclave")


@pytest.mark.parametrize("other", OTHERS)
def test_a_claim_of_another_release_is_not_rebuilt(
    other: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        false_portal(answers(job=other)) as portal,
        desk(tmp_path, portal.address, monkeypatch) as it,
        pytest.raises(OtherJob),
    ):
        it.agent.work(ASKED)
    assert it.rebuilt == []


def test_a_claim_of_another_project_is_not_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = job_document(project="elsewhere")
    with (
        false_portal(answers(job=other)) as portal,
        desk(tmp_path, portal.address, monkeypatch) as it,
        pytest.raises(OtherJob, match=r"is about elsewhere v1\.0\.0, not about enclave"),
    ):
        it.agent.work(project="enclave", once=True)
    assert it.rebuilt == []


def test_what_was_asked_for_is_rebuilt_and_so_is_anything_for_who_asks_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with false_portal(answers(job=job_document())) as portal, desk(tmp_path, portal.address, monkeypatch) as it:
        assert it.client.job(ListedRelease(project="enclave", tag="v1.0.0")).tag == "v1.0.0"
        assert it.agent.work(ASKED) == 1
        assert it.agent.work(project="enclave", once=True) == 1
        assert it.agent.work(once=True) == 1
        assert commands.rebuild(it.agent, it.client, ASKED, None, it.said.append) == 0
    assert [job.tag for job in it.rebuilt] == ["v1.0.0"] * 4

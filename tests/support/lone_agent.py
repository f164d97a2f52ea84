"""An agent without an engine: what a rebuild gives is a test's to say, and portals are false ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.domain.job import RebuildJob
from builds.pipeline.engine_types import Limits
from builds.pipeline.rebuild import Reach
from builds.pipeline.reporting import Reporter
from builds.pipeline.reproduce import SignedRebuild, Workshop
from builds.pipeline.signing import Signer, generate
from builds.rebuilder import agent as agent_module
from builds.rebuilder.agent import Agent, Tools
from builds.rebuilder.home import AgentHome
from builds.rebuilder.portal_client import PortalClient
from tests.support.statements import digest_hex, read, statement_document

GIB = 1024**3
TAKEN = json.dumps(
    {
        "statement": f"sha256:{digest_hex('a')}",
        "rebuild": "r",
        "address": "/rebuilds/1/",
        "outcome": "reproduced",
        "notCounted": "",
    }
).encode()
CONTENT = {
    "size": 4,
    "digest": f"sha256:{digest_hex('a')}",
    "digestSha384": f"sha384:{digest_hex('b', 96)}",
}


class NoEngine:
    """Holds nothing and builds nothing."""

    def __init__(self, address: str) -> None:
        self.address = address

    def close(self) -> None:
        """Nothing is open."""

    def label_values(self, *_: object) -> set[str]:
        return set()


def job_document(project: str = "enclave", tag: str = "v1.0.0", **changed: Any) -> dict[str, Any]:
    """A job whose kernel is the one of ``signed``."""
    kernel = {
        "role": "kernel",
        "claimed": f"sha256:{digest_hex('a')}",
        "claimSubject": "content",
        "content": CONTENT,
        "container": None,
    }
    named = {"project": project, "tag": tag, "commit": "c" * 40, "sourceUrl": "https://example.invalid/r"}
    return {**named, "components": [kernel], **changed}


def claim_document(job: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"rebuildId": str(uuid.uuid4()), "leaseSeconds": 6, "heartbeatSeconds": 2, "job": job, **changed}


def signed(job: RebuildJob, signer: Signer) -> SignedRebuild:
    """What an honest rebuild of the job signs."""
    document = statement_document(signer.public.name, project=job.project, tag=job.tag, commit=job.commit)
    statement = read(document)
    return SignedRebuild(statement, signer.sign(IN_TOTO_PAYLOAD, statement.encode()))


@dataclass
class Desk:
    """An agent, what it said, and what it was asked to rebuild; ``instead`` is run in place of a rebuild."""

    root: Path
    client: PortalClient
    said: list[str] = field(default_factory=list)
    rebuilt: list[RebuildJob] = field(default_factory=list)
    instead: Callable[[Reporter], None] = lambda _: None

    def __post_init__(self) -> None:
        self.home = AgentHome(self.root / "home")
        self.signer = generate(self.root / "key.pem")
        limits = Limits(
            stage_seconds=60,
            memory_bytes=GIB,
            cpus="",
            log_bytes=GIB,
            disk_bytes=GIB,
            min_free_disk_bytes=0,
            output_bytes=GIB,
        )
        tools = Tools("unix:///no.sock", limits, Reach(), "http://mirror.invalid/debian", self.root / "no.gpg")
        self.agent = Agent(self.client, self.signer, self.home, tools, self.said.append, rebuild=self._rebuild)

    def _rebuild(self, job: RebuildJob, workshop: Workshop, signer: Signer, reporter: Reporter) -> SignedRebuild:
        self.rebuilt.append(job)
        self.instead(reporter)
        return signed(job, signer)


@contextmanager
def desk(root: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(agent_module, "DockerEngine", NoEngine)
    with PortalClient(address) as client:
        made = Desk(root, client)
        with made.home.occupied():
            yield made

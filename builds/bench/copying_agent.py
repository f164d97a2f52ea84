"""An agent whose build copies one file: what is left to measure is everything around a build.

``python -m builds.bench.copying_agent PORTAL KEY HOME FILE``. Claims, progress, log, signature and handing in are the
agent's own; it works until SIGTERM.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.domain.job import RebuildJob
from builds.domain.materials import MaterialsLock
from builds.domain.origins import Origin, OriginKind
from builds.domain.recipe import parse_recipe
from builds.domain.roles import Role
from builds.pipeline.build_result import BuildResult, BuiltComponent
from builds.pipeline.hashing import hash_file
from builds.pipeline.recipes import FoundRecipe
from builds.pipeline.reporting import Reporter
from builds.pipeline.reproduce import SignedRebuild, Workshop, statement_of
from builds.pipeline.signing import Signer, read_signer
from builds.rebuilder.agent import Agent
from builds.rebuilder.portal_client import PortalClient
from builds.rebuilder.session import DEFAULT_KEYRING, Options, say

EPOCH = 1_700_000_000
RECIPE = b"""\
format = 1
name = "copy"
[materials]
lock = "materials.lock"
groups = [{ name = "base", suite = "trixie", packages = ["dash"] }]
[base]
materials = "base"
[[stages]]
name = "copy"
dockerfile = "Dockerfile"
outputs = { kernel = "/kernel" }
[components]
kernel = { output = "kernel" }
"""
RECIPE_SHA256 = hashlib.sha256(RECIPE).hexdigest()


@dataclass(frozen=True, slots=True)
class CopyingRebuild:
    """Stands where ``reproduce`` stands: its one stage copies ``source``."""

    source: Path

    def __call__(self, job: RebuildJob, workshop: Workshop, signer: Signer, reporter: Reporter) -> SignedRebuild:
        started = datetime.now(UTC)
        reporter.stage_started("copy")
        workshop.work.mkdir(parents=True)
        made = workshop.work / "kernel"
        shutil.copyfile(self.source, made)
        content = hash_file(made, check=reporter.check)
        reporter.log(f"kernel {content.sha256}\n")
        reporter.stage_ended("copy", exit_code=0)
        reporter.settle()
        recipe = parse_recipe(RECIPE)
        found = FoundRecipe(recipe, RECIPE_SHA256, None)
        origin = Origin(OriginKind.BUILT, "copied")
        result = BuildResult(found, recipe, MaterialsLock(locked_at=started), EPOCH)
        result.components.append(BuiltComponent(Role.KERNEL, made, content, None, origin))
        result.environment["build"] = "a file is copied"
        shutil.rmtree(workshop.work)
        statement = statement_of(job, result, signer.public.name, started, reporter.log_sha256)
        return SignedRebuild(statement, signer.sign(IN_TOTO_PAYLOAD, statement.encode()))


def main(portal: str, key: str, home: str, source: str, docker_host: str) -> None:
    options = Options(
        portal=portal,
        data=Path(home),
        materials=None,
        docker_host=docker_host,
        mirror=None,
        keyring=DEFAULT_KEYRING,
        memory_gib=1,
        disk_gib=1,
        minutes=1,
        allow_network=False,
        allow_registry=False,
    )
    with PortalClient(portal) as client, options.home.occupied():
        agent = Agent(
            client, read_signer(Path(key)), options.home, options.tools, say, rebuild=CopyingRebuild(Path(source))
        )
        signal.signal(signal.SIGTERM, lambda *_: agent.stop())
        agent.work()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What the portal adds to a rebuild: worker, database and log against the bare Docker calls."""

from __future__ import annotations

import time
from pathlib import Path

from django.conf import settings

from builds import tasks
from builds.bench.timing import Pair, in_turn, timed
from builds.demo import processes
from builds.domain.errors import PortalError
from builds.models import Rebuild, Release
from builds.pipeline.base_image import write_base_image
from builds.pipeline.engine_types import BuildRequest
from builds.pipeline.hashing import hash_file, hash_gzip
from builds.pipeline.rebuild import StageInputs
from builds.pipeline.recipes import read_recipe_and_lock
from builds.pipeline.source import GitSource
from builds.services import queueing, running, workshop
from tee_portal.env import BASE_DIR

PAIRS = 5


def never() -> None:
    """Nothing stops a benchmark."""


def ignore(text: str) -> None:
    """The bare script keeps no log."""


class BareBuild:
    """The Docker calls of a rebuild and nothing else: contexts and base image lie ready."""

    def __init__(self, release: Release, work: Path) -> None:
        self._work = work
        self._engine = workshop.engine()
        self._labels = workshop.labels("bench")
        tree = GitSource(release.project.source_url, never).checkout(release.commit, work / "source")
        recipe, lock = read_recipe_and_lock(tree)
        self._recipe = recipe
        store = workshop.store()
        packages = [(entry.label, store.path(entry.digest)) for entry in lock.group(recipe.base.materials or "")]
        write_base_image(
            packages,
            work / "base.tar",
            reference="tee-portal-base:bench",
            labels=self._labels,
            rootfs=work / "rootfs.tar",
            check=never,
        )
        self._requests: list[BuildRequest] = []
        outputs: dict[str, Path] = {}
        inputs = StageInputs(tree, lock, store, "tee-portal-base:bench", self._labels, outputs)
        for stage in recipe.stages:
            self._requests.append(inputs.request(stage, work / f"{stage.name}.tar", never))
            if stage is not recipe.stages[-1]:
                self._engine.load_image(work / "base.tar", never)
                self._build(self._requests[-1], dict(stage.outputs))
                outputs.update({name: work / name for name in stage.outputs})
        self._engine.remove_labelled(self._labels)

    def run(self) -> float:
        """Load, build every stage, copy the outputs out, hash them, remove everything."""
        for name in [name for stage in self._recipe.stages for name in stage.outputs]:
            (self._work / name).unlink(missing_ok=True)
        return timed(self._docker_calls)

    def _docker_calls(self) -> None:
        self._engine.load_image(self._work / "base.tar", never)
        for request, stage in zip(self._requests, self._recipe.stages, strict=True):
            self._build(request, dict(stage.outputs))
        for source in self._recipe.components.values():
            path = self._work / source.output
            if source.container == "gzip":
                hash_gzip(path, settings.ENVIRONMENT.max_output_bytes, check=never)
            else:
                hash_file(path, check=never)
        self._engine.remove_labelled(self._labels)

    def _build(self, request: BuildRequest, outputs: dict[str, str]) -> None:
        limits = workshop.limits()
        image = self._engine.build(request, limits, ignore, never)
        for name, path in outputs.items():
            self._engine.export(
                image,
                path,
                self._work / name,
                labels=self._labels,
                max_bytes=limits.output_bytes,
                check=never,
            )


def rebuild_through_the_worker(release: Release) -> float:
    """Seconds from asking for a rebuild to its stored result."""
    rebuild = queueing.request_rebuild(release, running.local_rebuilder())
    tasks.hint(rebuild.pk)
    while not Rebuild.objects.get(pk=rebuild.pk).run_state.is_final:
        time.sleep(0.1)
    rebuild.refresh_from_db()
    if rebuild.finished_at is None or rebuild.failure is not None:
        raise PortalError(f"the rebuild ended as {rebuild.state}: {rebuild.failure}", where=str(rebuild.pk))
    return (rebuild.finished_at - rebuild.queued_at).total_seconds()


def bench_rebuild(release: Release, work: Path) -> Pair:
    with processes.worker(BASE_DIR, work / "worker.log"):
        bare = BareBuild(release, work)
        return in_turn(lambda: rebuild_through_the_worker(release), bare.run, PAIRS)

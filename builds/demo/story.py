"""The demo: publish, import, rebuild and judge the reference releases, then say what came of it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from builds import tasks
from builds.demo import repository, tampering
from builds.demo.publisher import Publisher
from builds.domain.comparison import RebuildOutcome
from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.domain.roles import Role
from builds.domain.verdict import COVERABLE, MeasurementState
from builds.models import Project, Rebuild, Release
from builds.pipeline.rebuild import BuildPlan
from builds.pipeline.recipes import read_command_line, read_recipe_and_lock
from builds.pipeline.source import SourceTree
from builds.services import importing, rebuilding, workshop
from builds.services.evidence import ReleaseView, view_of
from tee_portal.env import BASE_DIR

PROJECT = "reference-enclave"
HONEST, TAMPERED, CONTRADICTING = "v1.0.0", "v1.0.1", "v1.0.0-mirror"
_REBUILD_SECONDS = 3600
_POLL_SECONDS = 0.5


class DemoFailed(PortalError):
    """The demo could not be carried through."""

    code = "demo-failed"
    default_todo = "Read the worker's log in var/demo/."


@dataclass(frozen=True, slots=True)
class Demo:
    """One demo in ``root`` (normally ``var/demo``); ``say`` prints a line of progress."""

    root: Path
    say: Callable[[str], None]

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    def publish(self) -> None:
        """Publish three directories: an honest one, one with a replaced initrd, one with an altered file."""
        source = repository.make_repository(
            BASE_DIR / "examples" / PROJECT,
            self.root / "source",
            [HONEST, TAMPERED],
            store=workshop.store(),
            mirror=workshop.mirror(),
            keyring=settings.ARCHIVE_KEYRING,
            say=self.say,
        )
        work = self.root / "publisher"
        plan = BuildPlan(
            source_url=self.source_url,
            commit="",
            tag=None,
            work=work,
            labels={},
            limits=workshop.limits(),
            keyring=settings.ARCHIVE_KEYRING,
            base_cache=work / "base",
        )
        publisher = Publisher(source, self.releases, work, plan, self.say)
        publisher.publish(HONEST)
        self._derive(TAMPERED, lambda directory: self._tamper(directory, publisher, source))
        self._derive(CONTRADICTING, lambda directory: self._mirror(directory, source))

    @property
    def source_url(self) -> str:
        return f"file://{self.root / 'source'}"

    def import_releases(self) -> list[Release]:
        """Import all three; an imported one stays as it is."""
        project, _ = Project.objects.get_or_create(name=PROJECT, defaults={"source_url": self.source_url})
        imported = []
        for tag in (HONEST, TAMPERED, CONTRADICTING):
            self.say(f"importing {tag}")
            release = importing.import_release(project, self.releases / tag)
            for notice in view_of(reload(release)).notices:
                self.say(f"  {notice.kind}: {notice.sentence}")
            imported.append(release)
        return imported

    def rebuild(self, release: Release) -> Rebuild:
        """Queue a rebuild and follow it to its end; one that succeeded earlier is kept."""
        done = release.rebuilds.filter(state=RunState.SUCCEEDED).first()
        if done is not None:
            self.say(f"{release.tag} was rebuilt before")
            return done
        rebuild = release.rebuilds.filter(state__in=[RunState.QUEUED, RunState.RUNNING]).first()
        if rebuild is None:
            rebuild = rebuilding.request_rebuild(release, rebuilding.local_rebuilder())
        tasks.hint(rebuild.pk)
        self.say(f"rebuilding {release.tag} from commit {release.commit}")
        return self._follow(rebuild)

    def _follow(self, rebuild: Rebuild) -> Rebuild:
        deadline = time.monotonic() + _REBUILD_SECONDS
        told = 0
        while time.monotonic() < deadline:
            rebuild.refresh_from_db()
            for stage in rebuild.stages.filter(position__gt=told):
                told = stage.position
                self.say(f"  {stage.name}")
            if rebuild.run_state.is_final:
                if rebuild.run_state is not RunState.SUCCEEDED:
                    raise DemoFailed(f"the rebuild ended as {rebuild.state}: {rebuild.failure}", where=str(rebuild.pk))
                return rebuild
            time.sleep(_POLL_SECONDS)
        raise DemoFailed(f"the rebuild took longer than {_REBUILD_SECONDS} seconds", where=str(rebuild.pk))

    def _derive(self, tag: str, make: Callable[[Path], None]) -> None:
        if not (self.releases / tag).is_dir():
            partial = self.root / "publisher" / f"release-{tag}"
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(self.releases / tag)

    def _tamper(self, directory: Path, publisher: Publisher, source: repository.SourceRepository) -> None:
        honest = publisher.publish(TAMPERED)
        honest.rename(directory)
        self.say(f"replacing the initrd of {TAMPERED} after the build, and hiding it in manifest and measurement")
        tree = SourceTree(source.path, source.commits[TAMPERED], 0)
        recipe, _ = read_recipe_and_lock(tree)
        tampering.replace_initrd(directory, source.path, read_command_line(tree, recipe.launch_configurations[0]))

    def _mirror(self, directory: Path, source: repository.SourceRepository) -> None:
        repository.tag_commit(source.path, CONTRADICTING, source.commits[HONEST])
        tampering.copy_as(self.releases / HONEST, directory, CONTRADICTING)
        self.say(f"changing one byte of the kernel of {CONTRADICTING}")
        tampering.flip_kernel_byte(directory)


def reload(release: Release) -> Release:
    """The release with all its evidence."""
    return Release.objects.with_evidence().get(pk=release.pk)


def report(views: list[ReleaseView], contradicting: ReleaseView) -> dict[str, object]:
    """What ``verdicts.json`` holds: the rebuilt releases, and the one that contradicts itself."""
    return {
        "releases": [_release_report(view) for view in views],
        "contradicting": [
            {
                "tag": contradicting.release.tag,
                "commit": contradicting.release.commit,
                "contradictions": [notice.sentence for notice in contradicting.notices],
                "rebuilds": len(contradicting.rebuilds),
            }
        ],
        "written_at": timezone.now().isoformat(),
    }


def _release_report(view: ReleaseView) -> dict[str, object]:
    rebuild = view.newest
    seconds = None
    if rebuild is not None and rebuild.started_at is not None and rebuild.finished_at is not None:
        seconds = round((rebuild.finished_at - rebuild.started_at).total_seconds(), 1)
    rows = [row.comparison for row in view.components if row.comparison is not None]
    return {
        "tag": view.release.tag,
        "commit": view.release.commit,
        "outcome": view.verdict.outcome.value if view.verdict.outcome is not None else None,
        "decision": view.verdict.decision.value,
        "components": [
            {
                "role": row.role.value,
                "algorithm": row.algorithm.value,
                "published": row.published.hex if row.published is not None else None,
                "rebuilt": row.rebuilt.hex if row.rebuilt is not None else None,
                "outcome": row.outcome.value,
            }
            for row in rows
        ],
        "measurements": [
            {
                "published": row.evidence.published,
                "recomputed": row.evidence.recomputed,
                "rebuilt": row.evidence.rebuilt,
                "outcome": row.evidence.state.value,
                "boot_mode": row.evidence.boot_mode.value,
                "coverage": [part for part in COVERABLE if part in row.evidence.coverage],
            }
            for row in view.measurements
        ],
        "rebuild_seconds": seconds,
    }


def unexpected(honest: ReleaseView, tampered: ReleaseView, contradicting: ReleaseView) -> list[str]:
    """What did not come out as it must; empty when every verdict is the expected one."""
    problems = []
    if honest.verdict.outcome is not RebuildOutcome.REPRODUCED:
        problems.append(f"{HONEST} came out {honest.verdict.outcome}, not reproduced")
    if len(honest.components) != len(Role) or len(tampered.components) != len(Role):
        problems.append(f"not all of {', '.join(Role)} were compared")
    problems.extend(
        f"{HONEST}: measurement {row.evidence.state}, covering {sorted(row.evidence.coverage)}"
        for row in honest.measurements
        if row.evidence.state is not MeasurementState.MATCHES or row.evidence.coverage != set(COVERABLE)
    )
    differing = {
        row.role
        for row in tampered.components
        if row.comparison is None or row.comparison.outcome is not RebuildOutcome.REPRODUCED
    }
    if differing != {Role.INITRD}:
        problems.append(f"{TAMPERED} differs in {sorted(differing)}, not in the initrd alone")
    if [row.evidence.state for row in tampered.measurements] != [MeasurementState.DIFFERS]:
        problems.append(f"{TAMPERED}: the measurement does not differ")
    if not honest.measurements:
        problems.append(f"{HONEST} has no measurement")
    if honest.contradicts or tampered.contradicts:
        problems.append("a release that agrees with its manifest is shown as contradicting it")
    if not contradicting.contradicts or contradicting.rebuilds:
        problems.append(f"{CONTRADICTING} is not shown as contradicting its manifest before any rebuild")
    return problems


def write_report(path: Path, content: dict[str, object]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)

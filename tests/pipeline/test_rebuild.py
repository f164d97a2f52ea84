"""The pipeline against a real engine: a small build, and every way it can be stopped or fail."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from django.conf import settings

from builds.domain.dockerfile import RefusedDockerfile
from builds.domain.errors import DiskFull, LimitExceeded, PortalError
from builds.domain.materials import MaterialsLock, render_lock
from builds.domain.origins import OriginKind
from builds.domain.recipe import MalformedRecipe, RecipeHasNoStages
from builds.domain.roles import Role
from builds.pipeline.build_result import BuildResult
from builds.pipeline.context import ContextCollision
from builds.pipeline.control import Cancelled
from builds.pipeline.engine import DockerEngine
from builds.pipeline.engine_types import BuildFailed, EngineUnreachable, Limits, OutputMissing
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import MaterialGone, Mirror
from builds.pipeline.rebuild import Build, BuildPlan
from builds.pipeline.recipes import PortalRecipe
from builds.pipeline.source import CommitNotFound, SourceFileUnusable, SourceUnreachable, TagMismatch
from tests.domain.test_recipe import PUBLICATION
from tests.support.sources import (
    COMMIT_TIME,
    DOCKERFILE,
    RECIPE,
    Repository,
    git,
    make_bare_repository,
    make_repository,
)

pytestmark = pytest.mark.docker

FINAL = 'FROM scratch\nCOPY --from=builder /output /output\nCMD ["none"]\n'


def dockerfile(run: str) -> str:
    return f"ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}} AS builder\nRUN mkdir /output && {run}\n{FINAL}"


@dataclass
class Recorder:
    """Keeps what an observer is told; ``stop`` raises from the next check."""

    started: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    failed: list[tuple[str, str, int | None]] = field(default_factory=list)
    text: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    on_log: Callable[[str], None] = lambda text: None

    def stage_started(self, name: str) -> None:
        self.started.append(name)

    def stage_ended(self, name: str, *, exit_code: int | None) -> None:
        self.ended.append(name)

    def stage_failed(self, name: str, error: PortalError, *, exit_code: int | None) -> None:
        self.failed.append((name, error.code, exit_code))

    def log(self, text: str) -> None:
        self.text += text
        self.on_log(text)

    def check(self) -> None:
        if self.stop.is_set():
            raise Cancelled("the rebuild was cancelled", where="test")


@dataclass
class Workshop:
    """Runs builds of small repositories and looks at what they leave."""

    root: Path
    lock: MaterialsLock
    store: MaterialStore
    engine: DockerEngine
    limits: Limits
    mirror: Mirror = field(default_factory=lambda: Mirror(None))
    recorder: Recorder = field(default_factory=Recorder)
    labels: dict[str, str] = field(default_factory=lambda: {"org.tee-portal.test": str(time.monotonic_ns())})

    def repository(self, **changed: str) -> Repository:
        return make_repository(self.root / f"source-{time.monotonic_ns()}", self.lock, **changed)

    def build(self, repository: Repository, **changes: object) -> BuildResult:
        work = self.root / f"work-{time.monotonic_ns()}"
        work.mkdir()
        plan = BuildPlan(
            source_url=repository.url,
            commit=repository.commit,
            tag="v1",
            work=work,
            labels=self.labels,
            limits=self.limits,
            keyring=settings.ARCHIVE_KEYRING,
            base_cache=self.store.root / "base",
        )
        return Build(replace(plan, **changes), self.engine, self.store, self.mirror, self.recorder).run()  # type: ignore[arg-type]

    def leftovers(self) -> set[str]:
        return self.engine.label_values("org.tee-portal.test", self.labels)


@pytest.fixture
def workshop(
    tmp_path: Path, small_lock: MaterialsLock, store: MaterialStore, engine: DockerEngine, limits: Limits
) -> Workshop:
    return Workshop(tmp_path, small_lock, store, engine, limits)


def test_a_small_build_goes_from_clone_to_digests_and_leaves_nothing_in_the_engine(workshop: Workshop) -> None:
    result = workshop.build(workshop.repository())
    (component,) = result.components
    assert component.role is Role.KERNEL
    assert component.path.read_text() == "a\nb\n"
    assert component.origin.kind is OriginKind.BUILT
    assert result.epoch == COMMIT_TIME
    assert f"built at {COMMIT_TIME}" in workshop.recorder.text
    assert workshop.recorder.ended == ["source", "materials", "base", "build", "components", "origins", "measurement"]
    assert workshop.leftovers() == set()


def test_two_builds_of_the_same_commit_give_the_same_digests(workshop: Workshop) -> None:
    repository = workshop.repository()
    first, second = (workshop.build(repository).components[0].content for _ in range(2))
    assert first == second


def test_bytes_copied_from_a_package_are_named_by_that_package_and_its_signed_index(workshop: Workshop) -> None:
    text = dockerfile("cp /usr/bin/dash /output/kernel")
    origin = workshop.build(workshop.repository(Dockerfile=text)).components[0].origin
    assert origin.kind is OriginKind.PACKAGE
    assert "package dash" in origin.sentence
    assert "signed index of trixie" in origin.sentence


def test_a_package_that_no_signed_index_names_is_opaque(workshop: Workshop) -> None:
    packages = [package.model_copy(update={"suite": None}) for package in workshop.lock.packages]
    workshop.lock = workshop.lock.model_copy(update={"packages": packages})
    text = dockerfile("cp /usr/bin/dash /output/kernel")
    origin = workshop.build(workshop.repository(Dockerfile=text)).components[0].origin
    assert origin.kind is OriginKind.OPAQUE
    assert "no signed index" in origin.sentence


def test_a_text_file_of_the_source_is_source_and_a_binary_one_is_opaque(workshop: Workshop) -> None:
    text = (
        dockerfile("true")
        .replace("RUN", "COPY content /content\nRUN")
        .replace("&& true", "&& cp /content /output/kernel")
    )
    assert workshop.build(workshop.repository(Dockerfile=text)).components[0].origin.kind is OriginKind.SOURCE
    binary = workshop.build(workshop.repository(Dockerfile=text, content="\0\x01binary")).components[0].origin
    assert binary.kind is OriginKind.OPAQUE
    assert "prebuilt binary" in binary.sentence


def test_build_stages_have_no_network(workshop: Workshop) -> None:
    text = dockerfile("cat /proc/net/dev > /output/kernel")
    interfaces = workshop.build(workshop.repository(Dockerfile=text)).components[0].path.read_text()
    assert "lo:" in interfaces
    assert "eth0" not in interfaces


def test_a_failing_step_is_a_failed_build_with_its_exit_code_and_log(workshop: Workshop) -> None:
    text = dockerfile("echo about to fail && exit 7")
    with pytest.raises(BuildFailed):
        workshop.build(workshop.repository(Dockerfile=text))
    assert workshop.recorder.failed == [("build", "build-failed", 7)]
    assert "about to fail" in workshop.recorder.text
    assert workshop.leftovers() == set()


def test_a_build_that_hangs_is_stopped_at_its_limit(workshop: Workshop) -> None:
    workshop.limits = replace(workshop.limits, stage_seconds=3)
    started = time.monotonic()
    with pytest.raises(LimitExceeded, match="longer than 3 seconds"):
        workshop.build(workshop.repository(Dockerfile=dockerfile("sleep 300")))
    assert time.monotonic() - started < 30
    assert workshop.leftovers() == set()


def test_an_endless_log_is_stopped_at_its_limit(workshop: Workshop) -> None:
    with pytest.raises(LimitExceeded, match="build log is longer"):
        workshop.build(workshop.repository(Dockerfile=dockerfile("yes 'a line of log'")))
    assert len(workshop.recorder.text) < 2 * workshop.limits.log_bytes
    assert workshop.leftovers() == set()


def test_endless_output_is_stopped_before_it_fills_the_disk(workshop: Workshop) -> None:
    with pytest.raises(LimitExceeded, match="wrote more than"):
        workshop.build(workshop.repository(Dockerfile=dockerfile("cat /dev/zero > /output/kernel")))
    assert workshop.leftovers() == set()


def test_a_nearly_full_engine_disk_stops_the_build_by_name(workshop: Workshop) -> None:
    workshop.limits = replace(workshop.limits, min_free_disk_bytes=2**60)
    with pytest.raises(DiskFull):
        workshop.build(workshop.repository(Dockerfile=dockerfile("sleep 60")))
    assert workshop.leftovers() == set()


def test_an_output_larger_than_the_limit_is_refused(workshop: Workshop) -> None:
    workshop.limits = replace(workshop.limits, output_bytes=1000)
    text = dockerfile("head -c 2000 /dev/zero > /output/kernel")
    with pytest.raises(LimitExceeded, match="larger than 1000 bytes"):
        workshop.build(workshop.repository(Dockerfile=text))


@pytest.mark.parametrize("run", ["true", "mkdir /output/kernel", "ln -s /etc/passwd /output/kernel"])
def test_an_output_that_is_absent_or_no_regular_file_is_named(workshop: Workshop, run: str) -> None:
    with pytest.raises(OutputMissing):
        workshop.build(workshop.repository(Dockerfile=dockerfile(run)))
    assert workshop.leftovers() == set()


def test_cancelling_a_silent_build_stops_it_within_seconds_and_leaves_nothing(workshop: Workshop) -> None:
    def stop_soon(text: str) -> None:
        if "marker" in text and not text.startswith("Step"):
            threading.Timer(1, workshop.recorder.stop.set).start()

    workshop.recorder.on_log = stop_soon
    started = time.monotonic()
    with pytest.raises(Cancelled):
        workshop.build(workshop.repository(Dockerfile=dockerfile("echo marker && sleep 300")))
    assert time.monotonic() - started < 60
    assert workshop.recorder.failed == [("build", "cancelled", None)]
    assert workshop.leftovers() == set()


@pytest.mark.parametrize("stage", ["source", "materials", "base", "build", "components", "origins", "measurement"])
def test_a_build_can_be_cancelled_in_every_stage(workshop: Workshop, stage: str) -> None:
    started = workshop.recorder.stage_started

    def stop_there(name: str) -> None:
        started(name)
        if name == stage:
            workshop.recorder.stop.set()

    workshop.recorder.stage_started = stop_there  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        workshop.build(workshop.repository())
    assert workshop.leftovers() == set()


def test_a_dockerfile_that_pulls_is_refused_before_the_engine_sees_it(workshop: Workshop) -> None:
    with pytest.raises(RefusedDockerfile, match="pull an image"):
        workshop.build(workshop.repository(Dockerfile="FROM debian:13\nRUN true\n"))


def test_a_commit_that_does_not_exist_is_named(workshop: Workshop) -> None:
    with pytest.raises(CommitNotFound):
        workshop.build(workshop.repository(), commit="0" * 40)


def test_a_tag_that_names_another_commit_is_named(workshop: Workshop) -> None:
    repository = workshop.repository()
    (repository.path / "content").write_text("new\n")
    git(repository.path, "commit", "--all", "--quiet", "--message=second")
    git(repository.path, "tag", "--force", "v1")
    with pytest.raises(TagMismatch, match="tag v1 names commit"):
        workshop.build(repository)
    with pytest.raises(TagMismatch, match="no tag v9"):
        workshop.build(repository, tag="v9")


def test_an_unreachable_repository_is_not_a_missing_commit(workshop: Workshop, tmp_path: Path) -> None:
    repository = replace(workshop.repository(), path=tmp_path / "nowhere")
    with pytest.raises(SourceUnreachable):
        workshop.build(repository)


def test_a_link_in_place_of_a_file_is_never_followed(workshop: Workshop) -> None:
    repository = workshop.repository()
    (repository.path / "Dockerfile").unlink()
    (repository.path / "Dockerfile").symlink_to("/etc/hostname")
    git(repository.path, "commit", "--all", "--quiet", "--message=link")
    git(repository.path, "tag", "--force", "v1")
    linked = replace(repository, commit=git(repository.path, "rev-parse", "HEAD"))
    with pytest.raises(SourceFileUnusable, match="symbolic link"):
        workshop.build(linked)


def test_a_recipe_that_cannot_be_read_is_named(workshop: Workshop) -> None:
    with pytest.raises(MalformedRecipe):
        workshop.build(workshop.repository(recipe="format = 2\n"))


def test_a_source_that_brings_its_own_materials_directory_is_refused(workshop: Workshop) -> None:
    recipe = RECIPE.replace('dockerfile = "Dockerfile"', 'dockerfile = "Dockerfile"\nmaterials = ["base"]')
    with pytest.raises(ContextCollision):
        workshop.build(workshop.repository(recipe=recipe, materials="x"))


def test_a_material_that_is_gone_everywhere_fails_the_build_and_is_named(workshop: Workshop) -> None:
    package = workshop.lock.packages[0].model_copy(update={"sha256": "0" * 64, "path": "pool/main/g/gone_1_amd64.deb"})
    workshop.lock = workshop.lock.model_copy(update={"packages": [package, *workshop.lock.packages[1:]]})
    with pytest.raises(MaterialGone, match=package.name):
        workshop.build(workshop.repository())
    assert workshop.recorder.failed == [("materials", "material-gone", None)]


def test_an_engine_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(EngineUnreachable):
        DockerEngine("unix:///nonexistent/docker.sock")


def test_every_intermediate_image_and_container_of_a_running_build_is_labelled(workshop: Workshop) -> None:
    seen: list[set[str]] = []

    def look(text: str) -> None:
        if "marker" in text and not text.startswith("Step"):
            seen.append(workshop.leftovers())

    workshop.recorder.on_log = look
    text = DOCKERFILE.replace("RUN mkdir", "RUN echo marker && mkdir")
    workshop.build(workshop.repository(Dockerfile=text))
    assert seen
    assert seen[0] == set(workshop.labels.values())


def test_a_recipe_without_stages_fails_by_name_and_never_succeeds(workshop: Workshop) -> None:
    kept = PortalRecipe(PUBLICATION, "Ada")
    repository = make_bare_repository(workshop.root / "bare", "v1")
    with pytest.raises(RecipeHasNoStages):
        workshop.build(repository, recipe=kept)
    assert workshop.recorder.failed == [("source", "recipe-has-no-stages", None)]
    own = make_bare_repository(workshop.root / "own", "v1", recipe=PUBLICATION)
    with pytest.raises(RecipeHasNoStages):
        workshop.build(own)


def test_a_portal_maintained_recipe_builds_a_tree_that_has_none_and_is_named(workshop: Workshop) -> None:
    launch = PUBLICATION.partition("[[launch_configurations]]")[2]
    kept = PortalRecipe(f"{RECIPE}\n[[launch_configurations]]{launch}", "Ada")
    files = {"Dockerfile": DOCKERFILE, "content": "b\na\n", "materials.lock": render_lock(workshop.lock).decode()}
    repository = make_bare_repository(workshop.root / "bare", "v1", **files)
    built = workshop.build(repository, recipe=kept, values={"LUKS_UUID": "1"})
    assert built.environment["portal_recipe"] == f"sha256:{hashlib.sha256(kept.text.encode()).hexdigest()} by Ada"
    (measured,) = built.measurements
    assert measured.command_line == "console=ttyS0 KATANA_EXPECTED_LUKS_UUID=1"
    (unknown,) = workshop.build(repository, recipe=kept).measurements
    assert unknown.problem is not None
    assert unknown.problem.code == "command-line-unknown"

"""One build of a recipe, from a fresh clone to digests: the work of a rebuild and of a publisher alike.

Stages in order: source, materials, base, one per Docker stage of the recipe, components, origins,
measurement. Each reports its start, end, log and exit to the observer.
"""

from __future__ import annotations

import errno
import hashlib
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from builds.domain import dockerfile
from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import DiskFull, PortalError
from builds.domain.launch import LaunchConfiguration, LaunchMeasurement
from builds.domain.materials import MAX_LOCK_BYTES, LockedPackage, MaterialsLock, parse_lock
from builds.domain.origins import Candidate, Origin, classify
from builds.domain.recipe import RECIPE_FILE, LaunchConfigurationSpec, Recipe, Stage, parse_recipe
from builds.domain.roles import BootMode, Role
from builds.pipeline.archive_evidence import authenticate
from builds.pipeline.archives import read_initrd
from builds.pipeline.base_image import write_base_image
from builds.pipeline.context import write_context
from builds.pipeline.control import Observer
from builds.pipeline.engine import BuildFailed, BuildRequest, DockerEngine, Limits
from builds.pipeline.hashing import hash_file, hash_gzip
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.measurement import MeasurementInputs, measure
from builds.pipeline.mirror import Mirror
from builds.pipeline.package_contents import candidates, index_contents
from builds.pipeline.source import GitSource, SourceTree

MAX_COMMAND_LINE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What to build, where to work, and within which limits.

    ``work`` is an empty directory of this build alone. ``labels`` go on everything the engine
    creates. ``tag`` None skips the check that the repository's tag names the commit.
    """

    source_url: str
    commit: str
    tag: str | None
    work: Path
    labels: Mapping[str, str]
    limits: Limits
    keyring: Path
    base_cache: Path
    """Where extracted base layers are kept between builds of the same operator."""


@dataclass(frozen=True, slots=True)
class BuiltComponent:
    """A component as built: digests of the component itself, and of the container around it if any."""

    role: Role
    path: Path
    content: FileDigests
    container: FileDigests | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A regular file inside a component."""

    role: Role
    path: str
    size: int
    digest: Digest
    origin: Origin


@dataclass(frozen=True, slots=True)
class BuiltMeasurement:
    """The launch measurement of one of the recipe's configurations, or why there is none."""

    spec: LaunchConfigurationSpec
    command_line: str
    measurement: LaunchMeasurement | None
    problem: PortalError | None


@dataclass(slots=True)
class BuildResult:
    """Everything a finished build leaves."""

    recipe: Recipe
    epoch: int
    components: list[BuiltComponent] = field(default_factory=list)
    files: list[BuiltFile] = field(default_factory=list)
    measurements: list[BuiltMeasurement] = field(default_factory=list)
    environment: dict[str, str | int] = field(default_factory=dict)


class Build:
    """Runs one plan. Whatever happens, nothing of it stays in the engine afterwards."""

    def __init__(
        self, plan: BuildPlan, engine: DockerEngine, store: MaterialStore, mirror: Mirror, observer: Observer
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._store = store
        self._mirror = mirror
        self._observer = observer
        self._outputs: dict[str, Path] = {}

    def run(self) -> BuildResult:
        """Build; raises the ``PortalError`` of the stage that failed, after cleaning up in the engine."""
        try:
            return self._run()
        finally:
            self._engine.remove_labelled(self._plan.labels)

    def _run(self) -> BuildResult:
        with self._stage("source"):
            tree, recipe, lock = self._fetch_source()
        result = BuildResult(recipe, tree.commit_time)
        with self._stage("materials"):
            found = self._fetch_materials(tree, lock)
        with self._stage("base"):
            base = self._load_base(recipe, lock, result)
        for stage in recipe.stages:
            with self._stage(stage.name):
                self._build_stage(stage, tree, lock, base)
        with self._stage("components"):
            self._hash_components(recipe, found, result)
        with self._stage("origins"):
            self._trace_initrd(found, result)
        with self._stage("measurement"):
            self._measure(recipe, tree, result)
        return result

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Report a stage; a full disk anywhere inside it becomes the named error it is."""
        self._observer.check()
        self._observer.stage_started(name)
        try:
            yield
            self._observer.check()
        except PortalError as error:
            exit_code = error.exit_code if isinstance(error, BuildFailed) else None
            self._observer.stage_failed(name, error, exit_code=exit_code)
            raise
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            full = DiskFull(f"no space left on the worker: {error.filename}", where=f"stage {name}")
            self._observer.stage_failed(name, full, exit_code=None)
            raise full from error
        self._observer.stage_ended(name, exit_code=0)

    def _say(self, text: str) -> None:
        self._observer.log(text + "\n")

    def _fetch_source(self) -> tuple[SourceTree, Recipe, MaterialsLock]:
        plan = self._plan
        self._say(f"fetching {plan.commit} from {plan.source_url}")
        tree = GitSource(plan.source_url, self._observer.check).checkout(
            plan.commit, plan.work / "source", tag=plan.tag
        )
        self._say(f"checked out {tree.commit}, SOURCE_DATE_EPOCH {tree.commit_time}")
        recipe, lock = read_recipe_and_lock(tree)
        return tree, recipe, lock

    def _fetch_materials(self, tree: SourceTree, lock: MaterialsLock) -> Mapping[Digest, list[Candidate]]:
        check = self._observer.check
        fetched = self._store.ensure(lock.packages, self._mirror, check)
        trust = authenticate(lock, self._store, self._plan.keyring, mirror=self._mirror, check=check)
        named = sum(entry.authenticated for entry in trust.values())
        self._say(
            f"{len(lock.packages)} packages with their locked digests, {fetched} fetched now,"
            f" {named} named by a signed archive index"
        )
        contents = index_contents(self._store, lock.packages, check)
        return candidates(lock.packages, contents, trust, tree.root)

    def _load_base(self, recipe: Recipe, lock: MaterialsLock, result: BuildResult) -> str:
        info = self._engine.info()
        result.environment.update(info.as_dict(), worker_kernel=platform.release())
        if recipe.base.image is not None:
            self._say(f"pulling {recipe.base.image}")
            self._engine.pull_image(recipe.base.image)
            result.environment["base_image"] = recipe.base.image
            return recipe.base.image
        packages = lock.group(recipe.base.materials or "")
        reference = f"tee-portal-base:{self._plan.work.name}"
        archive = self._plan.work / "base.tar"
        image = write_base_image(
            [(package.label, self._store.path(package.digest)) for package in packages],
            archive,
            reference=reference,
            labels=self._plan.labels,
            rootfs=self._plan.base_cache / f"{_group_digest(packages)}.tar",
            check=self._observer.check,
        )
        self._engine.load_image(archive, self._observer.check)
        archive.unlink()
        result.environment["base_rootfs"] = image.rootfs_sha256
        self._say(f"base image of {len(packages)} extracted packages, rootfs {image.rootfs_sha256}")
        return reference

    def _build_stage(self, stage: Stage, tree: SourceTree, lock: MaterialsLock, base: str) -> None:
        plan, check = self._plan, self._observer.check
        text = tree.read(stage.dockerfile, dockerfile.MAX_DOCKERFILE_BYTES)
        prepared = dockerfile.prepare(text, plan.labels, where=stage.dockerfile, network=stage.network)
        packages = [package for group in stage.materials for package in lock.group(group)]
        context = plan.work / "context.tar"
        write_context(
            context,
            tree=tree.root,
            epoch=tree.commit_time,
            dockerfile=(stage.dockerfile, prepared),
            materials={package.path.rsplit("/", 1)[-1]: self._store.path(package.digest) for package in packages},
            inputs={name: self._outputs[name] for name in stage.inputs},
            check=check,
        )
        request = BuildRequest(
            stage=stage.name,
            context=context,
            dockerfile=stage.dockerfile,
            build_args={"BASE_IMAGE": base, "SOURCE_DATE_EPOCH": str(tree.commit_time), **stage.build_args},
            labels=plan.labels,
            network=stage.network,
        )
        image = self._engine.build(request, plan.limits, self._observer.log, check)
        context.unlink()
        outputs = plan.work / "outputs"
        outputs.mkdir(exist_ok=True)
        for name, path in stage.outputs.items():
            self._engine.export(
                image, path, outputs / name, labels=plan.labels, max_bytes=plan.limits.output_bytes, check=check
            )
            self._outputs[name] = outputs / name

    def _hash_components(self, recipe: Recipe, found: Mapping[Digest, list[Candidate]], result: BuildResult) -> None:
        for role, source in recipe.components.items():
            path = self._outputs[source.output]
            container: FileDigests | None = None
            if source.container == "gzip":
                digests = hash_gzip(path, self._plan.limits.output_bytes, check=self._observer.check)
                content, container = digests.content, digests.container
            else:
                content = hash_file(path, check=self._observer.check)
            origin = classify(content.sha256, content.size, found)
            result.components.append(BuiltComponent(role, path, content, container, origin))
            self._say(f"{role} {content.sha256} {content.size} bytes, {origin.sentence}")

    def _trace_initrd(self, found: Mapping[Digest, list[Candidate]], result: BuildResult) -> None:
        initrd = next((entry for entry in result.components if entry.role is Role.INITRD), None)
        if initrd is None:
            self._say("the recipe makes no initrd")
            return
        for entry in read_initrd(initrd.path, check=self._observer.check):
            if entry.sha256 is None:
                continue
            origin = classify(entry.sha256, entry.size, found)
            result.files.append(BuiltFile(Role.INITRD, entry.path, entry.size, entry.sha256, origin))
            self._say(f"initrd/{entry.path}: {origin.sentence}")

    def _measure(self, recipe: Recipe, tree: SourceTree, result: BuildResult) -> None:
        paths = {entry.role: entry.path for entry in result.components}
        for spec in recipe.launch_configurations:
            command_line = read_command_line(tree, spec)
            measured, problem = measure_files(paths, launch_configuration(spec), command_line)
            result.measurements.append(BuiltMeasurement(spec, command_line, measured, problem))
            self._say(f"{spec.name}: {measured.hex if measured is not None else problem}")


def read_recipe_and_lock(tree: SourceTree) -> tuple[Recipe, MaterialsLock]:
    """The recipe at the top of a tree and the lock it names."""
    recipe = parse_recipe(tree.read(RECIPE_FILE, MAX_LOCK_BYTES))
    groups = {group.name for group in recipe.materials.groups}
    data = tree.read(recipe.materials.lock, MAX_LOCK_BYTES)
    return recipe, parse_lock(data, where=recipe.materials.lock, groups=groups)


def read_command_line(tree: SourceTree, spec: LaunchConfigurationSpec) -> str:
    """The kernel command line a launch configuration boots with, without its final newline."""
    if spec.command_line_file is None:
        return ""
    return tree.read(spec.command_line_file, MAX_COMMAND_LINE_BYTES).decode("utf-8", "strict").removesuffix("\n")


def launch_configuration(spec: LaunchConfigurationSpec) -> LaunchConfiguration:
    """A recipe's launch configuration as the value that measurements are computed for."""
    return LaunchConfiguration(
        boot_mode=spec.boot_mode,
        vcpus=spec.vcpus,
        vcpu_type=spec.vcpu_type,
        guest_features=spec.guest_features,
        vmm=spec.vmm,
    )


def measure_files(
    paths: Mapping[Role, Path], configuration: LaunchConfiguration, command_line: str
) -> tuple[LaunchMeasurement | None, PortalError | None]:
    """Measure files by role; a named error instead of a measurement when that cannot be done."""
    direct = configuration.boot_mode is BootMode.DIRECT_KERNEL
    needed = (Role.OVMF, Role.KERNEL, Role.INITRD) if direct else (Role.OVMF,)
    for role in needed:
        if role not in paths:
            return None, PortalError(f"there is no {role} to measure", where="launch measurement")
    inputs = MeasurementInputs(
        ovmf=paths[Role.OVMF],
        kernel=paths[Role.KERNEL] if direct else None,
        initrd=paths[Role.INITRD] if direct else None,
        command_line=command_line if direct else None,
    )
    try:
        return measure(inputs, configuration), None
    except PortalError as error:
        return None, error


def _group_digest(packages: tuple[LockedPackage, ...]) -> str:
    """Names the derived base layer: the digests of its packages and the version of how it is made."""
    text = "rootfs-1\n" + "\n".join(sorted(package.sha256 for package in packages))
    return hashlib.sha256(text.encode()).hexdigest()

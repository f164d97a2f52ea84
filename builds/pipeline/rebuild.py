"""One build of a recipe, from a fresh clone to digests: the work of a rebuild and of a publisher alike.

Stages in order: source, materials, base, one per Docker stage of the recipe, components, origins,
measurement. Each reports its start, end, log and exit to the observer.
"""

from __future__ import annotations

import hashlib
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from builds.domain import dockerfile
from builds.domain.digest import FileDigests
from builds.domain.errors import PortalError
from builds.domain.launch import LaunchConfiguration, LaunchMeasurement
from builds.domain.materials import LockedPackage, MaterialsLock
from builds.domain.origins import classify
from builds.domain.recipe import RECIPE_FILE, CommandLineUnknown, LaunchConfigurationSpec, Recipe, Stage
from builds.domain.roles import BootMode, Role
from builds.pipeline.archive_evidence import authenticate
from builds.pipeline.archives import read_initrd
from builds.pipeline.base_image import write_base_image
from builds.pipeline.build_result import (
    BASE_IMAGE,
    PORTAL_RECIPE,
    BuildResult,
    BuiltComponent,
    BuiltFile,
    BuiltMeasurement,
    HashedComponent,
    KnownInputs,
)
from builds.pipeline.context import write_context
from builds.pipeline.control import Cancelled, Observer
from builds.pipeline.engine import DockerEngine
from builds.pipeline.engine_types import BuildFailed, BuildRequest, Limits
from builds.pipeline.hashing import hash_file, hash_gzip
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.measurement import MeasurementInputs, measure
from builds.pipeline.mirror import Mirror
from builds.pipeline.package_contents import candidates, index_contents
from builds.pipeline.recipes import PortalRecipe, find_recipe, read_command_line, read_recipe_and_lock
from builds.pipeline.source import GitSource, SourceTree
from builds.pipeline.unforeseen import named

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Reach:
    """What whoever runs a build lets it reach: the network in stages that ask for it, a registry's base image."""

    network: bool = True
    registry: bool = True


class NotAllowedHere(PortalError):
    """The recipe asks for something that whoever runs this machine does not let builds have."""

    code: ClassVar[str] = "not-allowed-here"
    default_todo: ClassVar[str] = "Leave this release to others, or allow it for this rebuilder."


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
    recipe: PortalRecipe | None = None
    """What to build by when the source tree has no recipe of its own."""
    reach: Reach = field(default_factory=Reach)
    values: Mapping[str, str] = field(default_factory=dict)
    """What placeholders of a command line stand for; nothing else of a publication reaches a build."""


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What build stages are made from; ``outputs`` are the files of the stages so far, by name."""

    tree: SourceTree
    lock: MaterialsLock
    store: MaterialStore
    base: str
    labels: Mapping[str, str]
    outputs: Mapping[str, Path]

    def request(self, stage: Stage, context: Path, check: Callable[[], None]) -> BuildRequest:
        """Check the stage's Dockerfile, write its context, and say what the engine is to do."""
        text = self.tree.read(stage.dockerfile, dockerfile.MAX_DOCKERFILE_BYTES)
        prepared = dockerfile.prepare(text, self.labels, where=stage.dockerfile, network=stage.network)
        packages = [package for group in stage.materials for package in self.lock.group(group)]
        write_context(
            context,
            tree=self.tree.root,
            epoch=self.tree.commit_time,
            dockerfile=(stage.dockerfile, prepared),
            materials={package.path.rsplit("/", 1)[-1]: self.store.path(package.digest) for package in packages},
            inputs={name: self.outputs[name] for name in stage.inputs},
            check=check,
        )
        arguments = {"BASE_IMAGE": self.base, "SOURCE_DATE_EPOCH": str(self.tree.commit_time), **stage.build_args}
        return BuildRequest(
            stage=stage.name,
            context=context,
            dockerfile=stage.dockerfile,
            build_args=arguments,
            labels=self.labels,
            network=stage.network,
        )


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
            tree = self._fetch_source()
            found = find_recipe(tree, self._plan.recipe)
            recipe, lock = read_recipe_and_lock(tree, self._plan.recipe)
            self._check_reach(recipe)
        result = BuildResult(found, recipe, lock, tree.commit_time)
        if self._plan.recipe is not None and not tree.has(RECIPE_FILE):
            result.environment[PORTAL_RECIPE] = self._plan.recipe.label
            self._say(f"the source tree has no recipe; built by the portal-maintained one, {self._plan.recipe.label}")
        with self._stage("materials"):
            self._fetch_materials(lock)
        # Who vouches for the materials is only needed at the end; the engine leaves a core idle meanwhile.
        with _Background(self._known_inputs, tree, lock) as known:
            with self._stage("base"):
                base = self._load_base(recipe, lock, result)
            for stage in recipe.stages:
                with self._stage(stage.name):
                    self._build_stage(stage, tree, lock, base)
            with self._stage("components"), ThreadPoolExecutor(1) as aside:
                # Everything needed is out of the engine, which can tidy up while this hashes.
                tidied = aside.submit(self._engine.remove_labelled, self._plan.labels)
                hashed = self._hash_components(recipe)
                tidied.result()
            with self._stage("origins"):
                self._trace_origins(hashed, known.result(self._observer.check), result)
        with self._stage("measurement"):
            self._measure(recipe, tree, result)
        return result

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Report a stage; a full disk, or what else nobody foresaw, becomes a named error."""
        self._observer.check()
        self._observer.stage_started(name)
        try:
            yield
            self._observer.check()
        except PortalError as error:
            exit_code = error.exit_code if isinstance(error, BuildFailed) else None
            self._observer.stage_failed(name, error, exit_code=exit_code)
            raise
        except (OSError, ValueError) as error:
            failure = named(error, where=f"stage {name}")
            self._observer.stage_failed(name, failure, exit_code=None)
            raise failure from error
        self._observer.stage_ended(name, exit_code=0)

    def _check_reach(self, recipe: Recipe) -> None:
        if recipe.asks_for_network and not self._plan.reach.network:
            stages = ", ".join(recipe.asks_for_network)
            raise NotAllowedHere(f"the recipe asks for the network in {stages}", where=RECIPE_FILE)
        if recipe.base.image is not None and not self._plan.reach.registry:
            raise NotAllowedHere(f"the recipe pulls {recipe.base.image}", where=RECIPE_FILE)

    def _say(self, text: str) -> None:
        self._observer.log(text + "\n")

    def _fetch_source(self) -> SourceTree:
        plan = self._plan
        self._say(f"fetching {plan.commit} from {plan.source_url}")
        tree = GitSource(plan.source_url, self._observer.check).checkout(
            plan.commit, plan.work / "source", tag=plan.tag
        )
        self._say(f"checked out {tree.commit}, SOURCE_DATE_EPOCH {tree.commit_time}")
        return tree

    def _fetch_materials(self, lock: MaterialsLock) -> None:
        fetched = self._store.ensure(lock.packages, self._mirror, self._observer.check)
        self._say(f"{len(lock.packages)} packages with their locked digests, {fetched} fetched now")

    def _known_inputs(self, check: Callable[[], None], tree: SourceTree, lock: MaterialsLock) -> KnownInputs:
        trust = authenticate(lock, self._store, self._plan.keyring, mirror=self._mirror, check=check)
        contents = index_contents(self._store, lock.packages, check)
        return KnownInputs(trust, candidates(lock.packages, contents, trust, tree.root))

    def _load_base(self, recipe: Recipe, lock: MaterialsLock, result: BuildResult) -> str:
        info = self._engine.info()
        result.environment.update(info.as_dict(), worker_kernel=platform.release(), cpu=cpu_model())
        if recipe.base.image is not None:
            self._say(f"pulling {recipe.base.image}")
            self._engine.pull_image(recipe.base.image)
            result.environment[BASE_IMAGE] = recipe.base.image
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
        inputs = StageInputs(tree, lock, self._store, base, plan.labels, self._outputs)
        request = inputs.request(stage, plan.work / "context.tar", check)
        image = self._engine.build(request, plan.limits, self._observer.log, check)
        request.context.unlink()
        outputs = plan.work / "outputs"
        outputs.mkdir(exist_ok=True)
        for name, path in stage.outputs.items():
            self._engine.export(
                image, path, outputs / name, labels=plan.labels, max_bytes=plan.limits.output_bytes, check=check
            )
            self._outputs[name] = outputs / name

    def _hash_components(self, recipe: Recipe) -> list[HashedComponent]:
        hashed = []
        for role, source in recipe.components.items():
            path = self._outputs[source.output]
            container: FileDigests | None = None
            if source.container == "gzip":
                digests = hash_gzip(path, self._plan.limits.output_bytes, check=self._observer.check)
                content, container = digests.content, digests.container
            else:
                content = hash_file(path, check=self._observer.check)
            hashed.append(HashedComponent(role, path, content, container))
            self._say(f"{role} {content.sha256} {content.size} bytes")
        return hashed

    def _trace_origins(self, hashed: list[HashedComponent], known: KnownInputs, result: BuildResult) -> None:
        named = sum(entry.authenticated for entry in known.trust.values())
        self._say(f"{named} of {len(known.trust)} materials are named by a signed archive index")
        for part in hashed:
            origin = classify(part.content.sha256, part.content.size, known.files)
            result.components.append(BuiltComponent(part.role, part.path, part.content, part.container, origin))
            self._say(f"{part.role}: {origin.sentence}")
            if part.role is not Role.INITRD:
                continue
            for entry in read_initrd(part.path, check=self._observer.check):
                if entry.sha256 is not None:
                    inside = classify(entry.sha256, entry.size, known.files)
                    result.files.append(BuiltFile(Role.INITRD, entry.path, entry.size, entry.sha256, inside))
                    self._say(f"initrd/{entry.path}: {inside.sentence}")

    def _measure(self, recipe: Recipe, tree: SourceTree, result: BuildResult) -> None:
        paths = {entry.role: entry.path for entry in result.components}
        for spec in recipe.launch_configurations:
            command_line = ""
            measured: LaunchMeasurement | None = None
            problem: PortalError | None
            try:
                command_line = read_command_line(tree, spec, self._plan.values)
            except CommandLineUnknown as error:
                problem = error
            else:
                measured, problem = measure_files(paths, launch_configuration(spec), command_line)
            result.measurements.append(BuiltMeasurement(spec, command_line, measured, problem))
            self._say(f"{spec.name}: {measured.hex if measured is not None else problem}")


def cpu_model() -> str:
    """The processor's own name (proc_cpuinfo(5)); the architecture where the kernel gives none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


class _Background:
    """One piece of work on a thread of its own; leaving the block stops it."""

    def __init__(
        self, work: Callable[[Callable[[], None], SourceTree, MaterialsLock], KnownInputs], *inputs: Any
    ) -> None:
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="known-inputs")
        self._future = self._pool.submit(work, self._check, *inputs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def result(self, check: Callable[[], None]) -> KnownInputs:
        """The result, calling ``check`` while waiting; raises what the work raised."""
        while not self._future.done():
            check()
            wait([self._future], timeout=_POLL_SECONDS)
        return self._future.result()

    def _check(self) -> None:
        if self._stop.is_set():
            raise Cancelled("the build has ended", where="known inputs")


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
            return None, PortalError(
                f"there is no {role} to measure",
                where="launch measurement",
                todo="Without that file nobody can compute it.",
            )
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

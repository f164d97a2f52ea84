"""The demo's publisher: does what the reference enclave's release workflow does, on this machine.

It shares the build engine's code with the portal but neither cache nor files: its own clone, its own
base layer, its own labels. Measurement comes from the source's own calculate-measurement.sh.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from builds.demo.repository import SourceRepository
from builds.domain.errors import PortalError
from builds.domain.roles import Role
from builds.pipeline.build_result import BuildResult
from builds.pipeline.process import run
from builds.pipeline.rebuild import Build, BuildPlan
from builds.pipeline.recipes import read_command_line, read_recipe_and_lock
from builds.pipeline.source import SourceTree
from builds.services import workshop

MANIFEST = "manifest.json"
_BINARY_MEMBER = "katana-reproducible"


class ConsoleObserver:
    """Prints stages, and keeps the log in a file beside the release."""

    def __init__(self, log: Path, say: Callable[[str], None]) -> None:
        self._file = log.open("w", encoding="utf-8", errors="replace")
        self._say = say

    def stage_started(self, name: str) -> None:
        self._say(f"  {name}")

    def stage_ended(self, name: str, *, exit_code: int | None) -> None:
        self._file.flush()

    def stage_failed(self, name: str, error: PortalError, *, exit_code: int | None) -> None:
        self._say(f"  {name} failed: {error}; the log is {self._file.name}")
        self._file.close()

    def log(self, text: str) -> None:
        self._file.write(text)

    def check(self) -> None:
        """The publisher is not interrupted."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Builds releases of one repository into ``root/<tag>``."""

    repository: SourceRepository
    root: Path
    work: Path
    plan: BuildPlan
    say: Callable[[str], None]

    def publish(self, tag: str) -> Path:
        """Build and publish one tag; a directory that is there already is left alone."""
        destination = self.root / tag
        if destination.is_dir():
            return destination
        self.say(f"publisher builds {tag}")
        work = self.work / f"publish-{tag}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            commit = self.repository.commits[tag]
            labels = workshop.labels(f"publisher-{tag}")
            plan = replace(self.plan, commit=commit, tag=tag, work=work, labels=labels)
            with closing(workshop.engine()) as engine:
                observer = ConsoleObserver(self.work / f"publish-{tag}.log", self.say)
                result = Build(plan, engine, workshop.store(), workshop.mirror(), observer).run()
            tree = SourceTree(work / "source", commit, result.epoch)
            published = work / "release"
            _write_release(published, tag, tree, result)
            self.root.mkdir(parents=True, exist_ok=True)
            published.rename(destination)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return destination


def _write_release(directory: Path, tag: str, tree: SourceTree, result: BuildResult) -> None:
    """The workflow's artifacts, by its names."""
    directory.mkdir()
    built = {component.role: component for component in result.components}
    names = {
        Role.KERNEL: "vmlinuz",
        Role.INITRD: "initrd.img",
        Role.OVMF: "ovmf.fd",
        Role.DISK: f"katana-vm-{tag}.raw.gz",
    }
    for role, name in names.items():
        built[role].path.rename(directory / name)
    binary = built[Role.KATANA].path.read_bytes()
    archive = f"katana_{tag}_linux_amd64_tee"
    _write_tarball(directory / f"{archive}.tar.gz", binary, result.epoch)
    (directory / f"{archive}.sha384").write_text(f"{hashlib.sha384(binary).hexdigest()}  {_BINARY_MEMBER}\n")
    recipe, _ = read_recipe_and_lock(tree)
    spec = recipe.launch_configurations[0]
    measurement = calculate_measurement(
        tree.root, directory, read_command_line(tree, spec), vcpus=spec.vcpus, vcpu_type=spec.vcpu_type
    )
    manifest = {
        "version": "1.0",
        "katana_version": tag,
        "source_date_epoch": result.epoch,
        "git_commit": tree.commit,
        "components": {
            "katana_binary_sha384": built[Role.KATANA].content.sha384.hex,
            "disk_image_sha256": built[Role.DISK].content.sha256.hex,
            "kernel_sha256": built[Role.KERNEL].content.sha256.hex,
            "initrd_sha256": built[Role.INITRD].content.sha256.hex,
            "ovmf_sha256": built[Role.OVMF].content.sha256.hex,
        },
        "measurement": {"sev_snp_hex": measurement, "vcpus": spec.vcpus, "vcpu_type": spec.vcpu_type},
    }
    write_manifest(directory, manifest)


def write_manifest(directory: Path, manifest: dict[str, object]) -> None:
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def calculate_measurement(source: Path, directory: Path, command_line: str, *, vcpus: int, vcpu_type: str) -> str:
    """Run the source's calculate-measurement.sh in a release directory; returns the 96 hex characters."""
    script = source / "tee/scripts/calculate-measurement.sh"
    path = f"{Path(sys.executable).parent}{os.pathsep}/usr/sbin{os.pathsep}/usr/bin{os.pathsep}/sbin{os.pathsep}/bin"
    finished = run(
        [str(script), "ovmf.fd", "vmlinuz", "initrd.img", command_line, str(vcpus), vcpu_type],
        check=lambda: None,
        timeout=300,
        cwd=directory,
        overrides={"PATH": path, "LC_ALL": "C.UTF-8"},
    )
    if finished.exit_code != 0:
        raise PortalError(f"calculate-measurement.sh failed: {finished.stderr.strip()[-300:]}", where=str(directory))
    return (directory / "expected-measurement.txt").read_text(encoding="ascii").strip()


def _write_tarball(path: Path, binary: bytes, epoch: int) -> None:
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        entry = tarfile.TarInfo(_BINARY_MEMBER)
        entry.size, entry.mode, entry.mtime = len(binary), 0o755, epoch
        archive.addfile(entry, io.BytesIO(binary))

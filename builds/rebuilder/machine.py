"""What a machine lacks for rebuilding, found out before anything is claimed: ``--check``.

Nothing is changed by looking. What could not be found out is said to be unknown, not to be well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from builds.domain.answers import ListedRelease
from builds.domain.errors import PortalError
from builds.domain.job import RebuildJob
from builds.pipeline.engine import DockerEngine
from builds.pipeline.engine_types import EngineInfo
from builds.pipeline.mirror import Mirror
from builds.pipeline.signing import read_signer
from builds.rebuilder.portal_client import PortalClient
from builds.rebuilder.session import Options

_GIB = 1024**3
_PROGRAMS = {"git": "git", "gpgv": "gpgv", "dpkg-deb": "dpkg", "apt-get": "apt"}
"""Programs that the pipeline calls, with the Debian package of each."""
_SHOWN = 10


class State(StrEnum):
    OK = "ok"
    LACKS = "lacks"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``todo`` says what to do where something lacks."""

    state: State
    subject: str
    sentence: str
    todo: str = ""

    @property
    def line(self) -> str:
        return f"{self.state:<8} {self.subject:<9} {self.sentence}{f'. {self.todo}' if self.todo else ''}"


def look(options: Options, key: Path | None) -> list[Finding]:
    """What the machine has: engine, memory, disk, programs, the archive's keys, rights, a signing key."""
    return [
        *_engine(options),
        *_data(options),
        *_programs(),
        _archive(options),
        _keyring(options.keyring),
        _key(key),
    ]


def look_at_portal(
    options: Options, client: PortalClient, *, project: str | None, tags: Sequence[str] | None
) -> list[Finding]:
    """What the portal's releases need that these options do not give, and how long they take."""
    try:
        wanted: Sequence[str | None] = tags or [None]
        found = [name for tag in wanted for name in client.releases(project=project, tag=tag)]
        jobs = [client.job(name) for name in found[-_SHOWN:]]
    except PortalError as error:
        return [Finding(State.LACKS, "portal", f"{error.code}: {error}")]
    findings = [Finding(State.OK, "portal", f"{client.address} has {len(found)} releases that can be rebuilt")]
    if len(jobs) < len(found):
        findings.append(Finding(State.UNKNOWN, "releases", f"only the newest {len(jobs)} were looked at"))
    for name, job in zip(found[-_SHOWN:], jobs, strict=True):
        findings.extend(_release(options, name, job))
    return findings


def _engine(options: Options) -> Iterator[Finding]:
    try:
        with closing(DockerEngine(options.docker_host)) as engine:
            info = engine.info()
    except PortalError as error:
        yield Finding(State.LACKS, "engine", f"{error.what} ({error.where})", error.todo)
        return
    yield Finding(State.OK, "engine", f"Docker {info.version} with {info.cpus} CPUs at {options.docker_host}")
    yield _memory(options, info)
    if info.root_dir.is_dir():
        yield _disk("the engine", info.root_dir, options)
    else:
        yield Finding(State.UNKNOWN, "disk", f"the engine keeps its data in {info.root_dir}, which is not here to see")


def _memory(options: Options, info: EngineInfo) -> Finding:
    wanted, there = options.tools.limits.memory_bytes, info.memory_bytes
    if there < wanted:
        todo = f"Let builds use less: --memory-gib {max(1, there // _GIB)}"
        sentence = f"the engine's machine has {_size(there)}, a build may use {_size(wanted)}"
        return Finding(State.LACKS, "memory", sentence, todo)
    return Finding(State.OK, "memory", f"{_size(there)} in all, a build may use {_size(wanted)}")


def _disk(whose: str, place: Path, options: Options) -> Finding:
    limits = options.tools.limits
    wanted, free = limits.disk_bytes + limits.min_free_disk_bytes, shutil.disk_usage(place).free
    sentence = f"{_size(free)} free for {whose} in {place}, a build may write {_size(limits.disk_bytes)}"
    if free < wanted:
        return Finding(State.LACKS, "disk", f"{sentence} and leaves {_size(limits.min_free_disk_bytes)}", "Free some.")
    return Finding(State.OK, "disk", sentence)


def _data(options: Options) -> Iterator[Finding]:
    """Whether the agent may write where it keeps things; what is not made yet is judged by what it would be made in."""
    for root in dict.fromkeys((options.home.root, options.home.materials)):
        place = _existing(root)
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            todo = "Give another directory with --data (or --materials), or the right to write there."
            yield Finding(State.LACKS, "rights", f"{place} cannot be written to", todo)
        else:
            yield Finding(State.OK, "rights", f"{root} can be written to")
    yield _disk("the agent", _existing(options.home.root), options)


def _existing(place: Path) -> Path:
    place = place.absolute()
    return place if place.exists() else _existing(place.parent)


def _programs() -> Iterator[Finding]:
    missing = {program: package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    for program, package in missing.items():
        yield Finding(State.LACKS, "programs", f"{program} is not installed", f"Debian has it in {package}.")
    if not missing:
        yield Finding(State.OK, "programs", ", ".join(_PROGRAMS))


def _archive(options: Options) -> Finding:
    try:
        base = Mirror(options.mirror).base
    except FileNotFoundError:
        return Finding(State.UNKNOWN, "mirror", "without apt this host names no Debian archive", "Name one: --mirror")
    except PortalError as error:
        return Finding(State.LACKS, "mirror", f"{error.what} ({error.where})", error.todo)
    return Finding(State.OK, "mirror", f"materials come from {base}")


def _keyring(path: Path) -> Finding:
    if not os.access(path, os.R_OK):
        todo = "Debian has it in debian-archive-keyring; another place is named with --keyring."
        return Finding(State.LACKS, "keyring", f"{path} cannot be read", todo)
    return Finding(State.OK, "keyring", f"{path}")


def _key(path: Path | None) -> Finding:
    if path is None:
        todo = "Make one with: tee-portal-rebuilder keygen FILE"
        return Finding(State.UNKNOWN, "key", "no key was named with --key", todo)
    try:
        public = read_signer(path).public
    except PortalError as error:
        return Finding(State.LACKS, "key", f"{error.what} ({error.where})", error.todo)
    return Finding(State.OK, "key", f"{path}, sha256:{public.fingerprint}")


def _release(options: Options, name: ListedRelease, job: RebuildJob) -> Iterator[Finding]:
    where = f"{name.project} {name.tag}"
    needs, machine = job.needs, options.tools.capability
    if needs is None:
        yield Finding(State.UNKNOWN, "needs", f"the portal does not say what {where} needs")
    elif needs.met_by(machine):
        yield Finding(State.OK, "needs", f"these options give {where} what it asks for")
    else:
        yield from _unmet(where, options, job)
    yield _minutes(where, options, job)


def _unmet(where: str, options: Options, job: RebuildJob) -> Iterator[Finding]:
    needs, machine = job.needs, options.tools.capability
    if needs is None:
        return
    for subject, wanted, given, option in (
        ("memory", needs.memory_bytes, machine.memory_bytes, "--memory-gib"),
        ("disk", needs.disk_bytes, machine.disk_bytes, "--disk-gib"),
    ):
        if wanted > given:
            sentence = f"{where} asks for {_size(wanted)}, {option} gives {_size(given)}"
            yield Finding(State.LACKS, subject, sentence, f"Give more: {option} {-(-wanted // _GIB)}")
    if needs.network and not machine.network:
        yield Finding(State.LACKS, "rights", f"{where} asks for the network in its stages", "Allow it: --allow-network")
    if needs.registry and not machine.registry:
        yield Finding(State.LACKS, "rights", f"{where} pulls its base image", "Allow it: --allow-registry")
    if needs.recipe_format not in machine.recipe_formats:
        sentence = f"{where} has a recipe of format {needs.recipe_format}"
        yield Finding(State.LACKS, "recipe", sentence, "Install a newer tee-portal-rebuilder.")


def _minutes(where: str, options: Options, job: RebuildJob) -> Finding:
    if job.expected_seconds is None:
        return Finding(State.UNKNOWN, "minutes", f"nobody has rebuilt the project of {where} yet; its time is unknown")
    took = max(1, round(job.expected_seconds / 60))
    sentence = f"rebuilds of {where} took about {took} minutes elsewhere, one stage may take {options.minutes:g} here"
    if took > options.minutes:
        return Finding(State.LACKS, "minutes", sentence, f"Give more: --minutes {2 * took}")
    return Finding(State.OK, "minutes", sentence)


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"

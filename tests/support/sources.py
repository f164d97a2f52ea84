"""Small source repositories for tests: real git, a real recipe, real locked packages, builds of a second."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builds.domain.materials import MaterialsLock, render_lock

COMMIT_TIME = 1_700_000_000

RECIPE = """\
format = 1
name = "small"

[materials]
lock = "materials.lock"

[[materials.groups]]
name = "base"
suite = "trixie"
dependencies = true
packages = ["base-files", "coreutils", "dash"]

[base]
materials = "base"

[[stages]]
name = "build"
dockerfile = "Dockerfile"
[stages.outputs]
kernel = "/output/kernel"

[components]
kernel = { output = "kernel" }
"""

DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS builder
ARG SOURCE_DATE_EPOCH
COPY content /content
RUN mkdir /output && sort /content > /output/kernel && echo built at $SOURCE_DATE_EPOCH
FROM scratch
COPY --from=builder /output /output
CMD ["none"]
"""

FILES: Mapping[str, str] = {"tee-portal.toml": RECIPE, "Dockerfile": DOCKERFILE, "content": "b\na\n"}


@dataclass(frozen=True)
class Repository:
    """A git work tree and its newest commit."""

    path: Path
    commit: str

    @property
    def url(self) -> str:
        return f"file://{self.path}"


def git(path: Path, *arguments: str) -> str:
    moment = f"{COMMIT_TIME} +0000"
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.invalid",
        "GIT_AUTHOR_DATE": moment,
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.invalid",
        "GIT_COMMITTER_DATE": moment,
    }
    finished = subprocess.run(
        ["git", *arguments], cwd=path, env=environment, capture_output=True, text=True, check=True
    )
    return finished.stdout.strip()


def make_repository(path: Path, lock: MaterialsLock | None, tag: str = "v1", **changed: str) -> Repository:
    """A repository of ``FILES`` with some changed (``Dockerfile="..."``), committed and tagged."""
    path.mkdir(parents=True)
    names = {"recipe": "tee-portal.toml"}
    files = {**FILES, **{names.get(name, name): text for name, text in changed.items()}}
    for name, text in files.items():
        (path / name).write_text(text)
    if lock is not None:
        (path / "materials.lock").write_bytes(render_lock(lock))
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message=first")
    git(path, "tag", tag)
    return Repository(path, git(path, "rev-parse", "HEAD"))


def make_bare_repository(path: Path, tag: str, **files: str) -> Repository:
    """A repository of a README and the files given by name (``recipe`` is tee-portal.toml), committed and tagged."""
    path.mkdir(parents=True)
    names = {"recipe": "tee-portal.toml"}
    for name, text in {"README": "source\n", **files}.items():
        (path / names.get(name, name)).write_text(text)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message=first")
    git(path, "tag", tag)
    return Repository(path, git(path, "rev-parse", "HEAD"))


def with_committer(repository: Repository, line: str, tag: str) -> Repository:
    """Another commit of the same files whose committer line is exactly this, which git itself would not write."""
    tree = git(repository.path, "rev-parse", "HEAD^{tree}")
    body = f"tree {tree}\nauthor t <t@example.invalid> {COMMIT_TIME} +0000\ncommitter {line}\n\nx\n"
    (repository.path / ".git" / "crafted").write_text(body)
    commit = git(repository.path, "hash-object", "-t", "commit", "-w", "--literally", ".git/crafted")
    git(repository.path, "update-ref", f"refs/tags/{tag}", commit)
    return Repository(repository.path, commit)


def with_tree_bomb(repository: Repository, tag: str, *, blob: str, levels: int, width: int = 10) -> Repository:
    """A commit of a few objects whose checkout has ``width ** levels`` files."""
    (repository.path / ".git" / "crafted").write_text(blob)
    named = f"100644 blob {git(repository.path, 'hash-object', '-w', '.git/crafted')}"
    for _ in range(levels):
        lines = "".join(f"{named}\tx{number}\n" for number in range(width))
        made = subprocess.run(
            ["git", "mktree"], cwd=repository.path, input=lines, capture_output=True, text=True, check=True
        )
        named = f"040000 tree {made.stdout.strip()}"
    commit = git(repository.path, "commit-tree", named.split()[-1], "-m", "x")
    git(repository.path, "update-ref", f"refs/tags/{tag}", commit)
    return Repository(repository.path, commit)

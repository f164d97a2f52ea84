"""The demo's source repository: the reference enclave as a git repository with stable commit ids."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builds.domain.errors import PortalError
from builds.domain.materials import render_lock
from builds.domain.recipe import RECIPE_FILE, Recipe, parse_recipe
from builds.pipeline.debian_archive import lock_groups
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import Mirror
from builds.pipeline.process import run

_AUTHOR = "Reference Enclave"
_EMAIL = "reference-enclave@example.invalid"
# Commit times are part of commit ids and become SOURCE_DATE_EPOCH; fixed, they make both stable.
_FIRST_COMMIT_TIME = 1_780_000_000
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class SourceRepository:
    """A git work tree with its tags; ``commits`` maps each tag to its full commit id."""

    path: Path
    commits: dict[str, str]


def make_repository(
    example: Path,
    destination: Path,
    tags: list[str],
    *,
    store: MaterialStore,
    mirror: Mirror,
    keyring: Path,
    say: Callable[[str], None],
) -> SourceRepository:
    """Make the repository, one commit per tag, materials locked once; an existing one is used as it is."""
    if not (destination / ".git").is_dir():
        partial = destination.with_name(destination.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(example, partial)
        _lock(partial, store, mirror, keyring, say)
        _git(partial, 0, "init", "--quiet", "--initial-branch=main")
        for number, tag in enumerate(tags):
            (partial / "payload" / "VERSION").write_text(f"{tag.removeprefix('v')}\n", encoding="ascii")
            _git(partial, number, "add", "--all")
            _git(partial, number, "commit", "--quiet", f"--message=Release {tag}")
            _git(partial, number, "tag", tag)
        partial.rename(destination)
    return SourceRepository(destination, {tag: commit_of(destination, tag) for tag in tags})


def commit_of(repository: Path, tag: str) -> str:
    return _git(repository, 0, "rev-parse", f"refs/tags/{tag}^{{commit}}")


def tag_commit(repository: Path, tag: str, commit: str) -> None:
    """Give a commit one more tag, unless it has it."""
    _git(repository, 0, "tag", "--force", tag, commit)


def _lock(directory: Path, store: MaterialStore, mirror: Mirror, keyring: Path, say: Callable[[str], None]) -> None:
    recipe: Recipe = parse_recipe((directory / RECIPE_FILE).read_bytes())
    say("locking materials: current versions from the archive's signed indexes")
    lock = lock_groups(recipe.materials.groups, store, mirror, keyring, _never)
    fetched = store.ensure(lock.packages, mirror, _never)
    (directory / recipe.materials.lock).write_bytes(render_lock(lock))
    size = sum(package.size for package in lock.packages)
    say(f"locked {len(lock.packages)} packages ({size // 1_000_000} MB), {fetched} fetched")


def _never() -> None:
    """The publisher is not interrupted."""


def _git(directory: Path, number: int, *arguments: str) -> str:
    moment = f"{_FIRST_COMMIT_TIME + number * _DAY} +0000"
    finished = run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "commit.gpgSign=false",
            "-c",
            "tag.gpgSign=false",
            *arguments,
        ],
        check=_never,
        timeout=60,
        cwd=directory,
        overrides={
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": _AUTHOR,
            "GIT_AUTHOR_EMAIL": _EMAIL,
            "GIT_AUTHOR_DATE": moment,
            "GIT_COMMITTER_NAME": _AUTHOR,
            "GIT_COMMITTER_EMAIL": _EMAIL,
            "GIT_COMMITTER_DATE": moment,
        },
    )
    if finished.exit_code != 0:
        raise PortalError(f"git {arguments[0]} failed: {finished.stderr.strip()[:300]}", where=str(directory))
    return finished.stdout.strip()

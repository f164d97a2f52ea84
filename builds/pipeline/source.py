"""The source tree of a release: fetched with git, checked out at one exact commit, verified."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from builds.domain.errors import PortalError
from builds.domain.paths import relative_path
from builds.domain.printable import one_line
from builds.pipeline.process import Finished, run, run_reading
from builds.pipeline.source_bounds import Growth, Listing, SourceBounds

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
# Dates of images and pages end there, so no larger time is of use.
_YEAR_10000 = 253_402_300_800
_FETCH_SECONDS = 900.0
_GIT = (
    "git",
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "protocol.ext.allow=never"),
    *("-c", "safe.directory=*"),
)


class SourceUnreachable(PortalError):
    """The source repository could not be asked."""

    code: ClassVar[str] = "source-unreachable"
    default_todo: ClassVar[str] = "Check the project's source address and the network, then ask again."


class CommitNotFound(PortalError):
    """The repository does not have the commit the release names."""

    code: ClassVar[str] = "commit-not-found"
    default_todo: ClassVar[str] = "Ask the publisher which commit the release was built from; do not trust the files."


class TagMismatch(PortalError):
    """The repository's tag is absent or names another commit than the release does."""

    code: ClassVar[str] = "tag-mismatch"
    default_todo: ClassVar[str] = "Treat the release as suspect until the publisher explains the difference."


class CommitUnusable(PortalError):
    """The commit has no time that files and images could be given."""

    code: ClassVar[str] = "commit-unusable"
    default_todo: ClassVar[str] = "Ask the publisher for a release of an ordinary commit; treat this one as hostile."


class SourceFileUnusable(PortalError):
    """A file the pipeline must read from the source tree is absent, no plain file, or too large."""

    code: ClassVar[str] = "source-file-unusable"
    default_todo: ClassVar[str] = "Correct it in the source repository and cut a new release."


@dataclass(frozen=True, slots=True)
class SourceTree:
    """A checkout: ``root`` holds the files of ``commit``; ``commit_time`` is SOURCE_DATE_EPOCH in seconds."""

    root: Path
    commit: str
    commit_time: int

    def read(self, path: str, max_bytes: int) -> bytes:
        """Read one regular file of the tree without following a symbolic link anywhere on the way."""
        full = self._plain_file(path)
        if full.stat().st_size > max_bytes:
            raise SourceFileUnusable(f"the file is larger than {max_bytes} bytes", where=path)
        return full.read_bytes()

    def has(self, path: str) -> bool:
        """Whether the tree has anything under this name."""
        return os.path.lexists(self.root / relative_path(path, where="source tree"))

    def _plain_file(self, path: str) -> Path:
        relative = relative_path(path, where="source tree")
        current = self.root
        for part in relative.parts:
            current = current / part
            try:
                mode = current.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError) as error:
                raise SourceFileUnusable("the source tree has no such file", where=path) from error
            if stat.S_ISLNK(mode):
                raise SourceFileUnusable("a symbolic link stands in the way", where=path)
        if not stat.S_ISREG(mode):
            raise SourceFileUnusable("it is not a regular file", where=path)
        return current


class GitSource:
    """Fetches trees from one repository address with the system's git, no configuration but ours.

    Without ``follows_redirects`` only what the address itself answers counts: where it sends on to may be anybody's.
    """

    def __init__(
        self,
        url: str,
        check: Callable[[], None],
        *,
        bounds: SourceBounds | None = None,
        follows_redirects: bool = True,
    ) -> None:
        self._url = url
        self._check = check
        self._bounds = bounds or SourceBounds()
        self._program = _GIT if follows_redirects else (*_GIT, "-c", "http.followRedirects=false")

    def checkout(self, commit: str, destination: Path, *, tag: str | None = None) -> SourceTree:
        """Check out ``commit`` into ``destination`` (made here) and verify that it is what is there.

        With ``tag``, the repository's tag must exist and name this commit: a commit alone could
        have come from a fork that shares the repository's object store. Raises
        ``SourceUnreachable``, ``CommitNotFound``, ``TagMismatch``, ``CommitUnusable`` or ``LimitExceeded``.
        """
        if not _COMMIT.fullmatch(commit):
            raise CommitNotFound(f"{commit[:80]!r} is not a full commit id", where=self._url)
        destination.mkdir(parents=True)
        growth = Growth(destination, self._bounds, self._check, self._url)
        self._fetch(destination, commit, growth)
        if tag is not None:
            self._check_tag(destination, tag, commit)
        self._check_listing(destination, commit)
        self._git(destination, "checkout", "--quiet", "--detach", commit, check=growth)
        growth.measure()
        head = self._git(destination, "rev-parse", "HEAD").stdout.strip()
        if head != commit:
            raise CommitNotFound(f"the checkout is at {head}, not at {commit}", where=self._url)
        return SourceTree(destination, commit, self._commit_time(destination))

    def _commit_time(self, directory: Path) -> int:
        """Seconds; git gives nothing for a line without a time, and any number that stands in one."""
        told = self._git(directory, "show", "--no-patch", "--format=%ct", "HEAD").stdout.strip()
        if not _SECONDS.fullmatch(told) or int(told) >= _YEAR_10000:
            raise CommitUnusable(f"its time is {told[:40]!r}, not seconds of the years 1970 to 9999", where=self._url)
        return int(told)

    def commit_of_tag(self, tag: str, work: Path) -> str:
        """The commit that the repository's tag names; ``work`` is an existing directory to run git in.

        Raises ``SourceUnreachable``, or ``TagMismatch`` when there is no such tag.
        """
        target = self._tag_target(work, tag)
        if target is None:
            raise TagMismatch(f"the source repository has no tag {tag}", where=self._url)
        return target

    def _check_tag(self, directory: Path, tag: str, commit: str) -> None:
        target = self.commit_of_tag(tag, directory)
        if target != commit:
            raise TagMismatch(f"tag {tag} names commit {target}, the release names {commit}", where=self._url)

    def _tag_target(self, directory: Path, tag: str) -> str | None:
        """What a tag names, through an annotated tag's own object; None when there is no such tag."""
        reference = f"refs/tags/{tag}"
        listed = self._git(directory, "ls-remote", "--", self._url, reference, f"{reference}^{{}}", ok=None)
        if listed.exit_code != 0:
            raise SourceUnreachable(f"git could not list tags: {_said(listed)}", where=self._url)
        found: dict[str, str] = {}
        for line in listed.stdout.splitlines():
            object_id, _, name = line.partition("\t")
            found[name] = object_id
        return found.get(f"{reference}^{{}}", found.get(reference))

    def _fetch(self, directory: Path, commit: str, growth: Growth) -> None:
        self._git(directory, "init", "--quiet", "--initial-branch=checkout")
        arguments = ("fetch", "--quiet", "--depth=1", "--no-tags", "--", self._url, commit)
        fetched = self._git(directory, *arguments, ok=None, check=growth)
        if fetched.exit_code != 0:
            raise self._fetch_error(fetched, commit)
        growth.measure()

    def _fetch_error(self, fetched: Finished, commit: str) -> PortalError:
        message = fetched.stderr.strip()
        if "not our ref" in message or "couldn't find remote ref" in message:
            return CommitNotFound(f"the source repository has no commit {commit}", where=self._url)
        return SourceUnreachable(f"git could not fetch: {_said(fetched)}", where=self._url)

    def _check_listing(self, directory: Path, commit: str) -> None:
        """Hold what would be checked out against the bounds before a single file is."""
        arguments = ("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        finished = run_reading(
            [*self._program, *arguments],
            Listing(self._bounds, self._url).take,
            check=self._check,
            timeout=_FETCH_SECONDS,
            overrides=_git_environment(directory),
            cwd=directory,
        )
        self._succeeded(finished, arguments)

    def _git(
        self, directory: Path, *arguments: str, ok: int | None = 0, check: Callable[[], None] | None = None
    ) -> Finished:
        finished = run(
            [*self._program, *arguments],
            check=check or self._check,
            timeout=_FETCH_SECONDS,
            overrides=_git_environment(directory),
            cwd=directory,
        )
        return self._succeeded(finished, arguments, ok)

    def _succeeded(self, finished: Finished, arguments: Sequence[str], ok: int | None = 0) -> Finished:
        if ok is not None and finished.exit_code != ok:
            raise SourceUnreachable(f"git {arguments[0]} failed: {_said(finished)}", where=self._url)
        return finished


def _said(finished: Finished) -> str:
    """What git complained of, in one line: a server's own words are among it."""
    return one_line(" ".join(finished.stderr.split()))


def _git_environment(directory: Path) -> Mapping[str, str]:
    """No user or system configuration, no prompt, no transport beyond the common ones."""
    return {
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "file:https:http:ssh",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }

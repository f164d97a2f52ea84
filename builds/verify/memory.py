"""What this machine has seen of each portal's checkpoints, so that nobody leads it back to an older one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationError

from builds.domain.errors import MalformedInput, PortalError
from builds.domain.frozen import CamelCase, Sha256Hex, first_problem
from builds.domain.strict_json import load_object
from builds.pipeline.hashing import UnreadableFile, open_regular
from builds.pipeline.regular_files import LockHeld, held_lock, replace_file

_MAX_BYTES = 1024 * 1024
# Whoever has it reads and writes one small file.
_LOCK_SECONDS = 10.0


class UnusableState(MalformedInput):
    """The file that remembers checkpoints cannot be read or written."""

    code: ClassVar[str] = "unusable-state"
    default_todo: ClassVar[str] = "Name a file that can be written with --state FILE; removing one forgets what it saw."


class StateBusy(PortalError):
    """Another run holds the file that remembers checkpoints, for longer than one needs it."""

    code: ClassVar[str] = "state-busy"
    default_todo: ClassVar[str] = "Ask again. If it stays so, see which process has the lock open, as with fuser."


class RolledBack(PortalError):
    """The mirror gives a checkpoint that is older than one that this machine has seen."""

    code: ClassVar[str] = "mirror-rolled-back"
    default_todo: ClassVar[str] = "Ask another mirror, or the portal: this one is behind, or hides what came since."


class Equivocation(PortalError):
    """Two different checkpoints have the same number, and the portal's key signed both."""

    code: ClassVar[str] = "mirror-equivocates"
    default_todo: ClassVar[str] = (
        "Trust neither. Tell the portal's operator: its key signed two, or two portals sign with one key."
    )


class Seen(CamelCase):
    """The newest checkpoint of a key: its number, and the digest of the payload that was signed."""

    sequence: Annotated[int, Field(ge=1, lt=2**63)]
    payload: Sha256Hex


class _Memory(CamelCase):
    format: Literal["https://tee-portal.org/mirror/seen/v1"] = "https://tee-portal.org/mirror/seen/v1"
    keys: dict[Sha256Hex, Seen] = Field(default_factory=dict, max_length=1000)


def usual_place() -> Path:
    """In the user's directory for state, as the XDG Base Directory Specification has it."""
    # This program has no other settings than its arguments; the portal's are read in tee_portal.env.
    named = os.environ.get("XDG_STATE_HOME", "")
    base = Path(named) if named.startswith("/") else Path("~/.local/state").expanduser()
    return base / "tee-portal-verify" / "seen.json"


def remember(place: Path, fingerprint: str, seen: Seen) -> None:
    """Keep the newest checkpoint of a key; whoever comes second is held against what the first one kept.

    Raises ``RolledBack``, ``Equivocation``, ``UnusableState``, ``StateBusy`` and ``UnusableLock``.
    """
    with _locked(place):
        memory = _read(place)
        known = memory.keys.get(fingerprint)
        if known is not None:
            _hold_against(known, seen)
        if known != seen:
            _write(place, _Memory(keys={**memory.keys, fingerprint: seen}))


def _hold_against(known: Seen, seen: Seen) -> None:
    if seen.sequence < known.sequence:
        what = f"its checkpoint is number {seen.sequence}, and number {known.sequence} was seen here"
        raise RolledBack(what, where="checkpoint")
    if seen.sequence == known.sequence and seen.payload != known.payload:
        raise Equivocation(f"another checkpoint of number {seen.sequence} was seen here", where="checkpoint")


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with held_lock(place.with_name(f".{place.name}.lock"), seconds=_LOCK_SECONDS):
            yield
    except LockHeld as error:
        raise StateBusy(error.what, where=error.where) from error
    except OSError as error:
        raise UnusableState(f"it cannot be written: {error.strerror}", where=str(place)) from error


def _read(place: Path) -> _Memory:
    if not place.exists() and not place.is_symlink():
        return _Memory()
    try:
        with open_regular(place) as file:
            data = file.read(_MAX_BYTES + 1)
    except UnreadableFile as error:
        raise UnusableState(error.what, where=str(place)) from error
    load_object(data, max_bytes=_MAX_BYTES, where=str(place), error_type=UnusableState)
    try:
        return _Memory.model_validate_json(data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise UnusableState(first_problem(error)[:400], where=str(place)) from error


def _write(place: Path, memory: _Memory) -> None:
    replace_file(place, memory.model_dump_json(by_alias=True, indent=1).encode(), mode=0o600)

"""The directory of a mirror: only its own is written to, whatever lies there, and others can read it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from attestations.domain.mirror import CHECKPOINT_FILE
from attestations.mirror_tree import ForeignDirectory, MirrorNotWritable
from attestations.services.mirroring import publish
from builds.models import Release
from builds.pipeline.signing import generate
from tests.portal.mirroring import Mirror, rebuilt
from tests.support.mirrors import objects

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]


def test_the_group_of_the_directory_above_is_handed_down(mirror: Mirror) -> None:
    mirror.directory.mkdir()
    mirror.directory.chmod(0o2775)
    mirror.publish()
    assert (mirror.directory / "index").stat().st_mode & 0o7777 == 0o2755
    assert mirror.directory.stat().st_mode & 0o7777 == 0o2775


def test_a_link_in_the_place_of_the_lock_empties_nothing(mirror: Mirror, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    mirror.publish()
    (mirror.directory / ".lock").unlink()
    (mirror.directory / ".lock").symlink_to(victim)
    with pytest.raises(CommandError, match="unusable-lock"):
        call_command("publish_mirror", str(mirror.directory))
    assert victim.read_text() == "precious"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["index", "blobs", "blobs/sha256"])
def test_a_link_in_the_place_of_a_directory_leads_no_publication_elsewhere(
    mirror: Mirror, make_release: MakeRelease, tmp_path: Path, place: str
) -> None:
    make_release()
    mirror.publish()
    elsewhere = tmp_path / "elsewhere"
    shutil.move(mirror.directory / place, elsewhere)
    (elsewhere / ".new-x").write_text("precious")
    (mirror.directory / place).symlink_to(elsewhere)
    rebuilt(Release.objects.get(), "ada")
    before = contents(elsewhere)
    with pytest.raises(CommandError, match="mirror-not-writable"):
        call_command("publish_mirror", str(mirror.directory), "--full")
    assert contents(elsewhere) == before


def test_a_link_among_the_objects_leads_no_publication_elsewhere(
    mirror: Mirror, make_release: MakeRelease, tmp_path: Path
) -> None:
    make_release()
    mirror.publish()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".new-x").write_text("precious")
    (mirror.directory / "index" / "zz").symlink_to(elsewhere)
    linked = mirror.directory / next(iter(objects(mirror.directory)))
    (elsewhere / "object").write_bytes(linked.read_bytes())
    linked.unlink()
    linked.symlink_to(elsewhere / "object")
    before = contents(elsewhere)
    mirror.publish()
    assert not linked.is_symlink()
    assert contents(elsewhere) == before
    mirror.assert_whole()


@pytest.mark.parametrize("name", [CHECKPOINT_FILE, ".lock"])
def test_a_pipe_among_the_publishers_files_is_named_and_nobody_waits_on_it(mirror: Mirror, name: str) -> None:
    mirror.publish()
    (mirror.directory / name).unlink()
    os.mkfifo(mirror.directory / name)
    with pytest.raises(CommandError, match=r"mirror-not-writable|unusable-lock"):
        call_command("publish_mirror", str(mirror.directory))


@pytest.mark.parametrize(
    "held", [b"[" * 100_000, b'{"a":' * 100_000, b"{", b"[]", b'{"a": 1e999}', b'{"a": 1, "a": 2}']
)
def test_a_list_of_what_is_to_be_removed_that_cannot_be_read_is_begun_anew(mirror: Mirror, held: bytes) -> None:
    mirror.publish()
    (mirror.directory / ".unnamed.json").write_bytes(held)
    mirror.publish()
    assert json.loads((mirror.directory / ".unnamed.json").read_bytes()) == {}


@pytest.mark.parametrize("name", ["index.html", "index", "checkpoint.json", ".unnamed.json", "checkpoint.json.old"])
def test_a_directory_of_somebody_else_is_refused_and_left_as_it_was(mirror: Mirror, name: str) -> None:
    mirror.directory.mkdir()
    if name == "index":
        (mirror.directory / name / "ab").mkdir(parents=True)
    else:
        (mirror.directory / name).write_text("precious")
    before = contents(mirror.directory)
    for _ in range(2):
        with pytest.raises(CommandError, match="foreign-directory"):
            call_command("publish_mirror", str(mirror.directory))
    assert contents(mirror.directory) == before


def test_another_portals_mirror_is_refused_and_left_as_it_was(
    mirror: Mirror, make_release: MakeRelease, settings: Any, tmp_path: Path
) -> None:
    generate(tmp_path / "another.pem")
    another = {"signing_key": str(tmp_path / "another.pem")}
    ours, settings.ENVIRONMENT = settings.ENVIRONMENT, settings.ENVIRONMENT.model_copy(update=another)
    mirror.publish()
    settings.ENVIRONMENT = ours
    make_release()
    before = contents(mirror.directory)
    with pytest.raises(ForeignDirectory):
        mirror.publish()
    assert contents(mirror.directory) == before


@pytest.mark.parametrize("named", [False, True])
def test_an_own_mirror_goes_on_after_the_key_was_replaced_whatever_else_lies_there(
    mirror: Mirror, make_release: MakeRelease, settings: Any, tmp_path: Path, named: bool
) -> None:
    """Known by an earlier key that signed a verdict, or by the portal's address."""
    if named:
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"public_url": "https://portal.example"})
    else:
        make_release()
    mirror.publish()
    (mirror.directory / "robots.txt").write_text("")
    generate(tmp_path / "new.pem")
    new = {"signing_key": str(tmp_path / "new.pem")}
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update=new)
    mirror.publish()
    mirror.assert_whole()


def test_a_first_publication_that_was_killed_is_gone_on_with(mirror: Mirror, make_release: MakeRelease) -> None:
    make_release()
    mirror.publish()
    (mirror.directory / CHECKPOINT_FILE).unlink()
    (mirror.directory / ".unnamed.json").unlink()
    (mirror.directory / ".new-x").write_text("half")
    (mirror.directory / "lost+found").mkdir()
    mirror.publish()
    mirror.assert_whole()


def test_a_directory_that_was_not_named_is_not_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match="no directory is named"):
        call_command("publish_mirror", "")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MirrorNotWritable):
        publish(tmp_path / "file" / "mirror")
    with pytest.raises(CommandError, match="mirror-not-writable"):
        call_command("publish_mirror", str(tmp_path / "file" / "mirror"))


def test_files_are_readable_by_a_web_server_of_another_user(
    mirror: Mirror, make_release: MakeRelease, tmp_path: Path
) -> None:
    make_release()
    mirror.directory = tmp_path / "above" / "mirror"
    umask = os.umask(0o077)
    try:
        mirror.publish()
    finally:
        os.umask(umask)
    for path in [mirror.directory.parent, mirror.directory, *mirror.directory.rglob("*")]:
        assert not path.is_dir() or path.stat().st_mode & 0o777 == 0o755
    for path in [mirror.directory / CHECKPOINT_FILE, *(mirror.directory / name for name in objects(mirror.directory))]:
        assert path.stat().st_mode & 0o777 == 0o644
    assert json.loads((mirror.directory / CHECKPOINT_FILE).read_bytes())["payloadType"].endswith("v1+json")

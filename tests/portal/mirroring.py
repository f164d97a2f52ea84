"""A published mirror of the tests' portal, and another that is made anew beside it to be compared with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from attestations.services.mirroring import Publication, publish
from attestations.services.portal_key import portal_key
from builds.models import Release
from tests.support.attacks import hand_in, signed
from tests.support.mirrors import Reader, objects


@dataclass
class Mirror:
    """One directory, and another that is made anew beside it to be compared with."""

    directory: Path
    beside: Path

    def publish(self, *, anew: bool = False) -> Publication:
        return publish(self.directory, anew=anew)

    def read(self) -> Reader:
        return Reader(self.directory, portal_key().public)

    def assert_whole(self) -> Reader:
        """What lies there is what the database gives, byte for byte."""
        found = self.read()
        shutil.rmtree(self.beside, ignore_errors=True)
        made = publish(self.beside, anew=True)
        assert made.checkpoint.root == found.checkpoint.root
        anew = objects(self.beside)
        assert {path: data for path, data in objects(self.directory).items() if path in found.paths} == anew
        return found


def rebuilt(release: Release, *names: str) -> None:
    for name in names:
        assert hand_in(signed(release, name).as_bytes()).status_code == 201

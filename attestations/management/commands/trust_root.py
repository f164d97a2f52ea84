"""``manage.py trust_root list|add|remove|refresh``: the trust roots this portal names, by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from attestations.services import trust_roots, verification
from attestations.sigstore_verifier import MAX_TRUST_ROOT_BYTES, MalformedTrustRoot, is_one_a_line
from builds.domain.errors import PortalError
from builds.domain.printable import one_line


class Command(BaseCommand):
    help = "Show, add and renew the Sigstore trust roots that bundles may be verified under."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="every root, what it trusts, and when it was last confirmed")
        add = actions.add_parser("add", help="add a root, or a newer version of it")
        add.add_argument("name")
        add.add_argument("file", type=Path, help="trusted_root.json, or a file with one root a line")
        add.add_argument("--line", type=int, help="which line of such a file, from 1")
        add.add_argument("--replace", action="store_true", help="as the new version of the root of this name")
        add.add_argument("--tuf-url", default="", help="where its TUF repository lies")
        add.add_argument("--tuf-root", type=Path, help="the TUF root.json to begin with; you must trust it")
        remove = actions.add_parser("remove", help="let a root vouch for nobody; public-good becomes the vendored one")
        remove.add_argument("name")
        refresh = actions.add_parser("refresh", help="ask the root's TUF repository; uses the network")
        refresh.add_argument("name")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            match options["action"]:
                case "list":
                    self._list()
                case "add":
                    self._add(options)
                case "remove":
                    trust_roots.remove(options["name"])
                    self.stdout.write(f"{options['name']} removed; what it vouched for no longer counts")
                    self._verify_again()
                case _:
                    root = trust_roots.refresh(options["name"])
                    self.stdout.write(f"{root.name} is current: sha256:{root.ref.sha256}")
                    self._verify_again()
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error

    def _list(self) -> None:
        for name, known in trust_roots.known().items():
            self.stdout.write(f"{name}  sha256:{known.root.ref.sha256}")
            self.stdout.write(f"  from {known.origin}, last confirmed {_day(known.refreshed_at) or 'never'}")
            if known.problem is not None:
                self.stdout.write(f"  last refresh failed: {known.problem['what']}. {known.problem['todo']}")
            for authority in known.root.authorities:
                until = f"until {_day(authority.valid_until)}" if authority.valid_until is not None else "still valid"
                since = _day(authority.valid_from) or "always"
                self.stdout.write(f"  {authority.kind}: {authority.name}, since {since}, {until}")

    def _add(self, options: dict[str, Any]) -> None:
        content = _chosen(_read(options["file"]), options["line"], str(options["file"]))
        if bool(options["tuf_url"]) != bool(options["tuf_root"]):
            raise CommandError("--tuf-url and --tuf-root belong together")
        tuf_root = _read(options["tuf_root"]) if options["tuf_root"] else b""
        name, origin = options["name"], f"file {one_line(options['file'].name)}"
        tuf = {"tuf_url": options["tuf_url"], "tuf_root": tuf_root}
        root = trust_roots.add(name, content, origin, replace=options["replace"], **tuf)
        self.stdout.write(f"{root.name} added: sha256:{root.ref.sha256}")
        self.stdout.write("It counts for the projects whose expected publisher names it, and for no other.")
        self._verify_again()

    def _verify_again(self) -> None:
        self.stdout.write(f"{verification.verify_all()} findings made anew")


def _chosen(content: bytes, line: int | None, where: str) -> bytes:
    """One root of a file that may hold one a line."""
    if line is None:
        return content
    lines = content.splitlines()
    if not is_one_a_line(lines):
        raise MalformedTrustRoot("the file does not hold one root a line: leave --line out", where=where)
    if not 1 <= line <= len(lines):
        raise MalformedTrustRoot(f"the file has {len(lines)} lines: there is no line {line}", where=where)
    return lines[line - 1]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TRUST_ROOT_BYTES + 1)
    except OSError as error:
        raise MalformedTrustRoot(f"the file cannot be read: {error.strerror}", where=str(path)) from error


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment is not None else ""

"""``manage.py operators``: who rebuilds, whether it counts, and an administrator's decisions about it."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from attestations.services import publishers
from builds.domain.errors import PortalError
from builds.domain.requests import ProofKind
from builds.models import Operator, Project
from builds.pipeline.proof import check_proof, proof_place
from builds.services import operators
from builds.services.keys import name_of
from builds.services.projects import find_project


class Command(BaseCommand):
    help = "List operators; accept or reject one, tie one to a publisher, revoke a key."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="every operator with its keys")
        check = actions.add_parser("check", help="look whether an operator shows its keys where it said")
        check.add_argument("operator")
        accept = actions.add_parser("accept", help="let an operator's results count")
        accept.add_argument("operator")
        accept.add_argument("--by", required=True, help="your name, which is public")
        accept.add_argument("--identified-by", help="how you know who it is; by default its shown keys are checked")
        reject = actions.add_parser("reject", help="say no to an operator that waits: its keys sign nothing more")
        reject.add_argument("operator")
        reject.add_argument("--by", required=True, help="your name, which is public")
        reject.add_argument("--reason", required=True)
        tie = actions.add_parser("tie", help="say that an operator is tied to a project's publisher")
        tie.add_argument("operator")
        tie.add_argument("--project", required=True)
        tie.add_argument("--by", required=True)
        tie.add_argument("--what", help="the tie, which is public; without it a tie is ended")
        revoke = actions.add_parser("revoke", help="revoke a key by its fingerprint")
        revoke.add_argument("fingerprint")
        revoke.add_argument("--by", required=True)
        revoke.add_argument("--reason", required=True)
        revoke.add_argument("--since", type=datetime.fromisoformat, help="with its zone; by default now")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error

    def _list(self, _options: dict[str, Any]) -> None:
        for operator in Operator.objects.prefetch_related("rebuilders__keys", "affiliations__project", "decisions"):
            state = f"accepted by {operator.accepted_by}" if operator.accepted_at is not None else "pending"
            if operator.rejected_at is not None:
                state = "rejected"
            self.stdout.write(f"{operator.slug}: {operator.name}, {state}, {operator.contact}")
            for tie in operator.affiliations.all():
                ended = "" if tie.holds else f" (ended {tie.ended_at:%Y-%m-%d} by {tie.ended_by})"
                self.stdout.write(f"  tied to the publisher of {tie.project.name}: {tie.what}{ended}")
            for rebuilder in operator.rebuilders.all():
                for key in rebuilder.keys.all():
                    standing = "accepted" if key.accepted_at is not None else "pending"
                    if key.revoked_at is not None:
                        standing = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}: {key.revocation_reason}"
                    self.stdout.write(f"  {rebuilder.name} sha256:{key.fingerprint} {key.algorithm} {standing}")
            for decision in operator.decisions.all():
                self.stdout.write(f"  {decision.at:%Y-%m-%d %H:%M} {decision}")

    def _check(self, options: dict[str, Any]) -> None:
        self.stdout.write(self._seen(operators.find_operator(options["operator"])))

    def _accept(self, options: dict[str, Any]) -> None:
        operator = operators.find_operator(options["operator"])
        identified_by = options["identified_by"] or self._seen(operator)
        # Before anything of it can count.
        publishers.tie_operators()
        operators.accept_operator(operator, by=options["by"], identified_by=identified_by)
        self.stdout.write(f"{operator.slug} accepted: {identified_by}")

    def _reject(self, options: dict[str, Any]) -> None:
        operator = operators.find_operator(options["operator"])
        operators.reject_operator(operator, by=options["by"], reason=options["reason"])
        self.stdout.write(f"{operator.slug} rejected: {options['reason']}")

    def _seen(self, operator: Operator) -> str:
        """What its domain or repository shows for every pending key; for one that has none, of all."""
        every = [key for rebuilder in operator.rebuilders.all() for key in rebuilder.keys.all()]
        keys = [key for key in every if key.accepted_at is None and key.revoked_at is None] or every
        if not keys or not operator.proof_kind:
            raise CommandError(f"{operator.slug} has no key or named no proof: say --identified-by")
        kind, location = ProofKind(operator.proof_kind), operator.proof_location
        seen = ""
        for key in keys:
            self.stdout.write(f"looking for {proof_place(kind, location, key.fingerprint)}")
            seen = check_proof(kind, location, name_of(key.fingerprint), key.fingerprint)
        return seen

    def _tie(self, options: dict[str, Any]) -> None:
        operator = operators.find_operator(options["operator"])
        project: Project = find_project(options["project"], None)
        if options["what"]:
            operators.state_affiliation(operator, project, what=options["what"], by=options["by"])
            self.stdout.write(f"{operator.slug} does not count for {project.name}: {options['what']}")
        else:
            operators.end_affiliation(operator, project, by=options["by"])
            self.stdout.write(f"{operator.slug} is not tied to the publisher of {project.name} any more")

    def _revoke(self, options: dict[str, Any]) -> None:
        since: datetime | None = options["since"]
        if since is not None and since.tzinfo is None:
            raise CommandError("--since needs a zone, as in 2026-11-23T12:00:00+00:00")
        key = operators.revoke_key(
            options["fingerprint"].removeprefix("sha256:"), reason=options["reason"], by=options["by"], since=since
        )
        self.stdout.write(f"{key} revoked from {key.revoked_at:%Y-%m-%d %H:%M} UTC")

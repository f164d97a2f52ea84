"""``tee-portal-rebuilder``: rebuild releases for a portal, or for yourself, and sign what came of it.

Exit codes: 0 done and nothing speaks against it, 1 a negative finding, 2 it could not be done.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from builds.domain.errors import PortalError
from builds.domain.frozen import first_problem
from builds.domain.requests import Proof, ProofKind, ReleaseName
from builds.pipeline.signing import KeyAlgorithm, generate, read_signer
from builds.pipeline.unforeseen import named
from builds.rebuilder import commands, machine
from builds.rebuilder.portal_client import PortalClient
from builds.rebuilder.session import DEFAULT_ENGINE, DEFAULT_KEYRING, Options, agent_of, complain, default_data, say

COULD_NOT = 2


class MissingOption(PortalError):
    """An option that this needs was not given."""

    code: ClassVar[str] = "missing-option"
    default_todo: ClassVar[str] = "See tee-portal-rebuilder --help."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; a named error becomes one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except PortalError as error:
        complain(f"{error.code}: {error}")
        return COULD_NOT
    except ValidationError as error:
        complain(f"malformed-option: {first_problem(error)}")
        return COULD_NOT
    except OSError as error:
        failure = named(error, where="this machine")
        complain(f"{failure.code}: {failure}")
        return COULD_NOT
    return code


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="tee-portal-rebuilder", description=__doc__)
    _common(parser)
    parser.add_argument("--once", action="store_true", help="take one job and end")
    parser.add_argument("--release", metavar="TAG", action="append", help="rebuild this release; may be repeated")
    parser.add_argument("--project", help="whose release, when several projects have the tag")
    parser.add_argument("--follow", metavar="PROJECT", help="only releases of this project")
    parser.add_argument("--all", action="store_true", help="with --follow: every release, asked for or not, then end")
    parser.add_argument("--dry-run", action="store_true", help="say what would be rebuilt; claim and build nothing")
    parser.add_argument("--check", action="store_true", help="say what this machine lacks; claim and build nothing")
    parser.set_defaults(run=_work)
    actions = parser.add_subparsers(title="other things to do", metavar="")
    _add_keygen(actions.add_parser("keygen", help="make a signing key"))
    _add_enroll(actions.add_parser("enroll", help="make your key known to a portal, and rebuild a release as a trial"))
    rebuild = actions.add_parser("rebuild", help="rebuild one release for yourself: nothing is claimed or handed in")
    _common(rebuild)
    rebuild.add_argument("tag")
    rebuild.add_argument("--project")
    rebuild.add_argument("--output", type=Path, metavar="FILE", help="where the signed statement goes")
    rebuild.set_defaults(run=_rebuild)
    submit = actions.add_parser("submit", help="hand in a statement that was written before")
    submit.add_argument("file", type=Path)
    submit.add_argument("--portal", required=True, metavar="URL")
    submit.set_defaults(run=_submit)
    return parser


def _common(parser: ArgumentParser) -> None:
    parser.add_argument("--portal", metavar="URL", help="the portal's address")
    parser.add_argument("--key", type=Path, metavar="FILE", help="your private key; it never leaves this machine")
    parser.add_argument("--data", type=Path, default=default_data(), metavar="DIR", help="what is kept between runs")
    parser.add_argument("--materials", type=Path, metavar="DIR", help="a store of materials shared with others")
    parser.add_argument("--docker-host", default=_docker_host(), metavar="URL", help="the engine (or DOCKER_HOST)")
    parser.add_argument("--mirror", metavar="URL", help="a Debian mirror; by default this host's own")
    parser.add_argument("--keyring", type=Path, default=DEFAULT_KEYRING, help="the archive's signing keys")
    parser.add_argument("--memory-gib", type=float, default=6.0, help="what one build may use (default 6)")
    parser.add_argument("--disk-gib", type=float, default=12.0, help="what one build may write (default 12)")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long one build stage may take (default 60)")
    parser.add_argument("--allow-network", action="store_true", help="take recipes that ask for the network too")
    parser.add_argument("--allow-registry", action="store_true", help="take recipes whose base image is pulled too")


def _docker_host() -> str:
    return os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE


def _add_keygen(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="where the private key goes; the public one lands beside it")
    parser.add_argument("--algorithm", choices=[kind.value for kind in KeyAlgorithm], default=KeyAlgorithm.ECDSA_P256)
    parser.set_defaults(run=_keygen)


def _add_enroll(parser: ArgumentParser) -> None:
    _common(parser)
    parser.add_argument("--operator", required=True, metavar="SLUG", help="a short name, as in addresses")
    parser.add_argument("--name", required=True, help="your name as pages show it")
    parser.add_argument("--contact", required=True, help="where people can ask you; public")
    parser.add_argument("--affiliation", default="", help="ties to a publisher, in your own words; public")
    shown = parser.add_mutually_exclusive_group(required=True)
    shown.add_argument("--domain", help="a domain where you publish your key's name")
    shown.add_argument("--repository", metavar="URL", help="a git repository in which you tag your key's name")
    parser.add_argument("--rebuilder", default="main", metavar="SLUG", help="which of your machines (default main)")
    parser.add_argument(
        "--endorse", type=Path, metavar="OLD-KEY", help="an older key of yours that vouches for this one"
    )
    parser.add_argument("--valid-days", type=int, metavar="N", help="how long the key may sign; by default no limit")
    parser.add_argument("--no-trial", action="store_true", help="do not rebuild a release as a trial")
    parser.set_defaults(run=_enroll)


def _options(given: Namespace) -> Options:
    if given.portal is None:
        raise MissingOption("which portal?", where="--portal URL")
    return Options(
        portal=given.portal,
        data=given.data,
        materials=given.materials,
        docker_host=given.docker_host,
        mirror=given.mirror,
        keyring=given.keyring,
        memory_gib=given.memory_gib,
        disk_gib=given.disk_gib,
        minutes=given.minutes,
        allow_network=given.allow_network,
        allow_registry=given.allow_registry,
    )


def _key(given: Namespace) -> Path:
    if given.key is None:
        raise MissingOption(
            "which key signs?", where="--key FILE", todo="Make one with: tee-portal-rebuilder keygen FILE"
        )
    key: Path = given.key
    return key


def _work(given: Namespace) -> int:
    if given.check:
        return _check(given)
    options = _options(given)
    if given.dry_run:
        return _dry_run(given, options)
    with agent_of(options, read_signer(_key(given))) as (agent, client):
        if given.release:
            wanted = [commands.find_release(client, tag, given.project) for tag in given.release]
            handed_in = [agent.work(release) for release in wanted]
            return 0 if all(handed_in) else 1
        if given.follow and given.all:
            known = options.home.statement_path
            return commands.follow(
                agent, client, given.follow, say, is_done=lambda name: known(name.project, name.tag).is_file()
            )
        done = agent.work(once=given.once, project=given.follow)
        return 0 if done or not given.once else 1


def _check(given: Namespace) -> int:
    """The machine by itself, then against what the portal's releases need."""
    options = _options(given)
    found = machine.look(options, given.key)
    with PortalClient(options.portal) as client:
        found += machine.look_at_portal(options, client, project=given.project or given.follow, tags=given.release)
    for finding in found:
        say(finding.line)
    lacking = sum(finding.state is machine.State.LACKS for finding in found)
    say(
        f"this machine lacks {lacking} {'thing' if lacking == 1 else 'things'}"
        if lacking
        else "nothing is known that would keep this machine from it"
    )
    return 1 if lacking else 0


def _dry_run(given: Namespace, options: Options) -> int:
    with PortalClient(options.portal) as client:
        names = [
            release
            for tag in given.release or [None]
            for release in client.releases(project=given.project or given.follow, tag=tag)
        ]
        for release in names:
            say(f"{release.project} {release.tag}")
        say(f"{len(names)} releases can be rebuilt; nothing was claimed")
    return 0 if names else 1


def _rebuild(given: Namespace) -> int:
    options = _options(given)
    key = given.key or _own_key(options)
    with agent_of(options, read_signer(key)) as (agent, client):
        release = commands.find_release(client, given.tag, given.project)
        return commands.rebuild(agent, client, release, given.output, say)


def _own_key(options: Options) -> Path:
    """A sceptic's key: made once, so that the first try needs no preparation; portals need not know it."""
    path = options.data / "key.pem"
    if not path.exists():
        options.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        generate(path)
        say(f"made a signing key: {path}")
    return path


def _submit(given: Namespace) -> int:
    with PortalClient(given.portal) as client:
        return commands.submit(client, given.file, say)


def _keygen(given: Namespace) -> int:
    signer = generate(given.file, KeyAlgorithm(given.algorithm))
    public = given.file.with_name(f"{given.file.name}.pub")
    public.write_text(signer.public.pem)
    say(f"private key: {given.file} (never send it to anybody)")
    say(f"public key:  {public}")
    say(f"fingerprint: sha256:{signer.public.fingerprint}")
    say(f"name:        {signer.public.name}")
    return 0


def _enroll(given: Namespace) -> int:
    options = _options(given)
    signer = read_signer(_key(given))
    kind = ProofKind.DOMAIN if given.domain else ProofKind.REPOSITORY
    until = datetime.now(UTC) + timedelta(days=given.valid_days) if given.valid_days else None
    applicant = commands.Applicant(
        operator=given.operator,
        name=given.name,
        contact=given.contact,
        affiliation=given.affiliation,
        proof=Proof(kind=kind, location=given.domain or given.repository),
        rebuilder=given.rebuilder,
        not_after=until,
    )
    endorser = read_signer(given.endorse) if given.endorse else None
    with PortalClient(options.portal) as client:
        trial = commands.enroll(client, signer, applicant, endorser, say)
    if given.no_trial:
        return 0
    if trial is None:
        say("the portal has no judged release yet; nothing to rebuild as a trial")
        return 0
    return _trial(given, options, trial)


def _trial(given: Namespace, options: Options, release: ReleaseName) -> int:
    with agent_of(options, read_signer(_key(given))) as (agent, client):
        code = commands.rebuild(agent, client, release, None, say)
        commands.submit(client, options.home.statement_path(release.project, release.tag), say)
    return code

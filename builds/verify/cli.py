"""``tee-portal-verify``: decide about a release by signatures and by your own files, not by a server's answer.

Exit codes: 0 allow, 1 deny, 2 it could not be checked.
"""

from __future__ import annotations

import re
import signal
import sys
from argparse import ArgumentParser, Namespace, _MutuallyExclusiveGroup
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final, NoReturn

from pydantic import ValidationError

from builds.domain.errors import MalformedInput, PortalError
from builds.domain.frozen import first_problem
from builds.domain.printable import one_line
from builds.domain.requests import ReleaseName
from builds.pipeline.signing import UnusableKey
from builds.pipeline.unforeseen import Unforeseen, named
from builds.verify.checks import Trust, check_release
from builds.verify.evidence import Evidence, Kind, read_evidence, refuse_output, write_evidence
from builds.verify.findings import ALLOW
from builds.verify.givers import Meant, check_value, judge_givers
from builds.verify.local_files import MAX_ASSET_BYTES
from builds.verify.measuring import LaunchUnknown, WantedLaunch, parse_value
from builds.verify.memory import usual_place
from builds.verify.mirror import Mirror
from builds.verify.options import HELP, Misused, Parser, duration, features, positive, size, vcpus
from builds.verify.portal import Portal
from builds.verify.printing import complain, print_line, report
from builds.verify.signatures import PinnedKey, key_from

_PINNED = re.compile("([a-z0-9][a-z0-9-]{0,62})=(.+)", re.DOTALL)


class MalformedRelease(MalformedInput):
    """A release that is not named as PROJECT/TAG."""

    code: ClassVar[str] = "malformed-release"
    default_todo: ClassVar[str] = "Name it as the portal's addresses do: PROJECT/TAG."


class NoVerdict(PortalError):
    """Evidence without a signed verdict; nothing can come of it."""

    code: ClassVar[str] = "no-verdict"
    default_todo: ClassVar[str] = "Ask again later."


class Interrupted(PortalError):
    """Somebody ended the program before it had decided."""

    code: ClassVar[str] = "interrupted"
    default_todo: ClassVar[str] = "Run it again; nothing was decided."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program. Whatever goes wrong is a named error and an exit code of ``COULD_NOT_CHECK``: that of a crash
    would say that somebody tampered. An error is one line on standard error, and with ``--json`` a document as well.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if arguments is None:
        _end_as_by_hand()
    as_json = "--json" in given
    try:
        code = _run(_parser(), given)
    except PortalError as error:
        return complain(error, as_json=as_json)
    except (KeyboardInterrupt, SystemExit):
        return complain(Interrupted("it was ended", where="this machine"), as_json=as_json)
    except (OSError, ValueError) as error:
        return complain(named(error, where="this machine"), as_json=as_json)
    except Exception as error:  # noqa: BLE001 - a fault of this program decides nothing either
        return complain(Unforeseen(one_line(repr(error)), where="this program"), as_json=as_json)
    return code


def _run(parser: ArgumentParser, given: Sequence[str]) -> int:
    if len(given) == 1 and given[0] in HELP:
        # The one help that ends with 0: what comes from a variable is never the whole of a decision's arguments.
        parser.print_help()
        return ALLOW
    options = parser.parse_args(given)
    _refuse_idle(options)
    code: int = options.run(options)
    return code


_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def _end_as_by_hand() -> None:
    """Let what ends a program do what Ctrl-C does: what was unpacked is removed. What nohup ignores stays ignored."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(*_: object) -> NoReturn:
    """Once: a terminal that closes sends several, and none may end the removing."""
    for number in _ENDING:
        # Python complains of a signal that came together with this one and is ignored by now.
        signal.signal(number, _stay)
    raise KeyboardInterrupt


def _stay(*_: object) -> None:
    """It is ending already."""


def _refuse_idle(given: Namespace) -> None:
    """Raise ``Misused`` for an option that nothing would come of: whoever gave it believes that it does something."""
    if given.mirror is not None:
        return
    if given.state is not None:
        raise Misused("a checkpoint is remembered with --mirror only", where="--state", todo="Leave it out.")
    if given.action == "bundle" and given.portal_key is not None:
        todo = "Leave it out; the evidence is checked when it is decided about."
        raise Misused("with --portal bundle saves and checks nothing", where="--portal-key", todo=todo)


def _parser() -> ArgumentParser:
    parser = Parser(prog="tee-portal-verify", description=__doc__)
    actions = parser.add_subparsers(title="what to do", metavar="ACTION", dest="action", required=True)
    _add_release(actions.add_parser("release", help="decide about the files of a release"))
    _add_measurement(actions.add_parser("measurement", help="decide about a launch measurement from a report"))
    _add_bundle(actions.add_parser("bundle", help="save all evidence of a release for a machine without network"))
    return parser


def _add_release(parser: ArgumentParser) -> None:
    parser.add_argument("release", metavar="PROJECT/TAG")
    parser.add_argument("--files", type=Path, metavar="DIR", required=True, help="the release as it was downloaded")
    _add_source(parser)
    _add_trust(parser)
    _add_launch(parser)
    parser.set_defaults(run=_release)


def _add_measurement(parser: ArgumentParser) -> None:
    parser.add_argument("value", metavar="HEX", help="as a report has it; 0x, colons and spaces may stand in it")
    meant = parser.add_mutually_exclusive_group()
    meant.add_argument("--release", metavar="PROJECT/TAG", help="of which release; needed with --portal")
    meant.add_argument(
        "--project", metavar="NAME", help="of any release of this project; without either nothing allows"
    )
    parser.add_argument("--files", type=Path, metavar="DIR", help="recompute it from the release as it was downloaded")
    _add_source(parser)
    _add_trust(parser)
    _add_launch(parser)
    parser.set_defaults(run=_measurement)


def _add_trust(parser: ArgumentParser) -> None:
    parser.add_argument("--portal-key", type=Path, metavar="FILE", help="the portal's public key, got another way")
    parser.add_argument(
        "--rebuilder-key",
        action="append",
        default=[],
        metavar="[OPERATOR=]FILE",
        help="a rebuilder's public key that you trust; may be repeated, and then only those count",
    )
    parser.add_argument("--min-operators", type=positive, metavar="K", help="how many distinct operators you want")
    parser.add_argument(
        "--max-file-size", type=size, metavar="SIZE", help="read larger files too, such as 20GiB; without it 8GiB"
    )
    age = parser.add_mutually_exclusive_group()
    age.add_argument("--max-age", type=duration, metavar="DURATION", help="deny an older verdict; such as 7d")
    age.add_argument("--any-age", action="store_true", help="an old verdict will do, though it may have been replaced")


def _add_bundle(parser: ArgumentParser) -> None:
    parser.add_argument("release", metavar="PROJECT/TAG")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", required=True, help="where the evidence goes")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--portal", metavar="URL", help="the portal's address")
    _add_mirror(parser, source)
    parser.add_argument("--portal-key", type=Path, metavar="FILE", help="the portal's public key, for --mirror")
    parser.set_defaults(run=_bundle)


def _add_source(parser: ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--evidence", type=Path, metavar="FILE", help="what bundle saved")
    source.add_argument("--portal", metavar="URL", help="a portal's address: the same, collected now")
    _add_mirror(parser, source)
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def _add_mirror(parser: ArgumentParser, source: _MutuallyExclusiveGroup) -> None:
    source.add_argument("--mirror", metavar="URL", help="a mirror's address: the same, without the portal")
    parser.add_argument("--state", type=Path, metavar="FILE", help="where the newest checkpoint seen is remembered")


def _add_launch(parser: ArgumentParser) -> None:
    parser.add_argument("--command-line", metavar="TEXT", help="your kernel command line")
    parser.add_argument(
        "--vouch-for-command-line", action="store_true", help="you know what a command line does that nobody published"
    )
    parser.add_argument("--vcpus", type=vcpus, metavar="N", help="your number of vCPUs")
    parser.add_argument("--vcpu-type", metavar="TYPE", help="your vCPU type, such as EPYC-v4")
    parser.add_argument("--guest-features", type=features, metavar="N", help="your SEV_FEATURES, such as 0x1")


def _release(given: Namespace) -> int:
    name, trust = _name(given.release), _trust(given)
    evidence = _evidence(given, name)
    findings = check_release(name, given.files, evidence, trust, datetime.now(UTC))
    return report(findings, f"{name.project}/{name.tag}", as_json=given.json)


def _measurement(given: Namespace) -> int:
    value, trust, now = parse_value(given.value), _trust(given), datetime.now(UTC)
    asked = _name(given.release) if given.release is not None else None
    meant = Meant(asked, given.project)
    if given.files is None and trust.launch.is_given:
        raise LaunchUnknown("your own launch is computed from your own files", where="--files")
    if given.mirror is not None:
        with _mirror(given, now) as mirror:
            judged = judge_givers(mirror, value, trust, now, meant=meant, files=given.files)
        return report(judged.findings, f"{value} of {judged.subject}", as_json=given.json)
    if given.evidence is None and asked is None:
        raise MalformedRelease("with --portal it takes --release PROJECT/TAG", where="--release")
    evidence = read_evidence(given.evidence) if asked is None else _evidence(given, asked)
    name = meant.check(evidence)
    findings = check_value(name, value, evidence, trust, now, files=given.files) + meant.unsaid()
    return report(findings, f"{value} of {name.project}/{name.tag}", as_json=given.json)


def _trust(given: Namespace) -> Trust:
    return Trust(
        portal_key=key_from(given.portal_key) if given.portal_key is not None else None,
        pinned=_one_name_each([_pinned(text) for text in given.rebuilder_key]),
        min_operators=given.min_operators,
        max_age=given.max_age,
        takes_any_age=given.any_age,
        max_file_bytes=given.max_file_size or MAX_ASSET_BYTES,
        launch=_launch(given),
    )


def _bundle(given: Namespace) -> int:
    """Save what there is; without a signed verdict nothing can come of it but ``COULD_NOT_CHECK``."""
    refuse_output(given.output)
    evidence = _collected(given, _name(given.release))
    write_evidence(evidence, given.output)
    print_line(f"{given.output}: {len(evidence.files)} files of {given.release} from {evidence.portal}")
    if evidence.only(Kind.VERDICT) is None:
        raise NoVerdict("the portal has signed no verdict of this release yet", where=given.release)
    return ALLOW


def _evidence(given: Namespace, name: ReleaseName) -> Evidence:
    return read_evidence(given.evidence) if given.evidence is not None else _collected(given, name, whole=False)


def _collected(given: Namespace, name: ReleaseName, *, whole: bool = True) -> Evidence:
    """``whole`` asks a mirror for the release's list of measurements too, which no decision about files needs."""
    now = datetime.now(UTC).replace(microsecond=0)
    if given.mirror is not None:
        with _mirror(given, now) as mirror:
            return mirror.collect(name, now, measurements=whole)
    with Portal(given.portal) as portal:
        return portal.collect(name, now)


def _mirror(given: Namespace, now: datetime) -> Mirror:
    """A mirror is nobody's word: without the key there is nothing to believe in it."""
    if given.portal_key is None:
        todo = "Give the portal's key, had by another way than this mirror: --portal-key FILE"
        raise UnusableKey("a mirror is believed for the portal's signature alone", where="--portal-key", todo=todo)
    return Mirror(given.mirror, key_from(given.portal_key), given.state or usual_place(), now)


def _launch(given: Namespace) -> WantedLaunch:
    return WantedLaunch(
        given.command_line, given.vcpus, given.vcpu_type, given.guest_features, given.vouch_for_command_line
    )


def _name(text: str) -> ReleaseName:
    project, _, tag = text.partition("/")
    try:
        return ReleaseName(project=project, tag=tag)
    except ValidationError as error:
        raise MalformedRelease(first_problem(error)[:300], where=text[:200]) from error


def _pinned(text: str) -> PinnedKey:
    labelled = _PINNED.fullmatch(text)
    if labelled is None:
        return PinnedKey(key_from(Path(text)), "")
    return PinnedKey(key_from(Path(labelled[2])), labelled[1])


def _one_name_each(pinned: Sequence[PinnedKey]) -> tuple[PinnedKey, ...]:
    """Raise ``UnusableKey`` for a key under two names: which of two operators it is decides how many there are."""
    named_as: dict[str, set[str]] = {}
    for entry in pinned:
        named_as.setdefault(entry.key.fingerprint, set()).add(entry.operator)
    for fingerprint, names in named_as.items():
        if len(names) > 1:
            what = f"is given as {' and as '.join(sorted(name or 'nobody' for name in names))}"
            raise UnusableKey(what, where=f"--rebuilder-key sha256:{fingerprint}", todo="Give each key once.")
    return tuple(pinned)

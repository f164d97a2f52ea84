"""The verdict of a release for a script that bets an enclave on it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from attestations.domain.caller_policy import parse_caller_policy
from attestations.domain.change_cursor import START, ChangeCursor
from attestations.services.answer_version import answer_version
from attestations.services.asked_verdict import AskedVerdict, verdict_for, verdict_now, verdict_then
from attestations.services.changes import changes_after
from attestations.services.history import release_then, verdict_at
from attestations.services.standing import judged_view
from attestations.verdict_schemas import ChangesOut, DeployersVerdictOut, change_out, deployers_verdict_out
from builds.domain.errors import MalformedInput
from builds.domain.moment import Moment
from builds.json_answers import json_answer
from builds.models import Release
from builds.operation_rules import OperationRules, rules
from builds.public_address import public_base
from builds.services.absent import the_release

router = Router()


class TwoQuestions(MalformedInput):
    """A recorded verdict was derived under the policy of its time, and cannot be derived anew under another."""

    code: ClassVar[str] = "two-questions"
    default_todo: ClassVar[str] = "Leave out `at` or `policy`."


def _state(_request: HttpRequest, project: str, tag: str) -> str:
    """New evidence of the release moves it, and a new record of its verdict."""
    return answer_version(project, tag)


@router.get("/releases/{project}/{path:tag}/verdict", response=DeployersVerdictOut)
@rules(OperationRules(state=_state))
def release_verdict(
    request: HttpRequest,
    project: str,
    tag: str,
    at: Annotated[Moment | None, Query()] = None,
    policy: Annotated[str | None, Query()] = None,
) -> HttpResponse:
    """Whether to allow a release, why, by whose word, and the signed summary that says the same.

    ``at`` asks for what was recorded at a moment that has passed, ``policy`` for the decision under the caller's own
    policy, which nobody signs. An unknown release is 404, and denies.
    """
    if at is not None and policy is not None:
        raise TwoQuestions("a recorded verdict cannot be held against another policy", where="the query")
    if at is not None:
        answer = _then(project, tag, at)
    else:
        asked = parse_caller_policy(policy) if policy is not None else None
        view, standing = judged_view(the_release(Release.objects.with_evidence(), project, tag))
        answer = verdict_now(view, standing) if asked is None else verdict_for(view, standing, asked)
    return json_answer(deployers_verdict_out(answer, public_base(request)))


@router.get("/changes", response=ChangesOut)
def changes(
    request: HttpRequest,
    since: Annotated[str, Query()] = START,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> HttpResponse:
    """Every verdict that was recorded after ``since``, oldest first, in the order of recording, as webhooks tell.

    ``next`` is where to go on, at once while ``more``, else after a while. None is ever passed over.
    """
    base = public_base(request)
    page = changes_after(ChangeCursor.parse(since), limit)
    following = str(page.following)
    told = [change_out(change, base) for change in page.changes]
    answer = json_answer(ChangesOut(changes=told, next=following, more=page.more))
    answer["Link"] = f'<{base}/api/v1/changes?since={following}&limit={limit}>; rel="next"'
    return answer


def _then(project: str, tag: str, moment: datetime) -> AskedVerdict:
    release = release_then(Release.objects.select_related("project"), project, tag, moment)
    return verdict_then(release, verdict_at(release, moment), moment)

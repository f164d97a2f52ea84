"""What stands before every operation of the API, and what every answer of one carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from ninja.operation import Operation

from builds.domain.errors import PortalError
from builds.operation_rules import FILES, NOT_KEPT, OperationRules, rules_of
from builds.snapshot import one_snapshot
from tee_portal.kept_answers import AnswerTakesLong, note_state
from tee_portal.request_rules import Parameters, refuse_large_body, refuse_other_body
from tee_portal.throttle import charge, know_token

type Run = Callable[..., HttpResponseBase]
_OK = 200
JSON_TYPE = "application/json"


def conventions(run: Run) -> Run:
    """Hold an operation to the API's conventions; ``run`` is the method of a ninja ``Operation``."""
    operation: Any = getattr(run, "__self__", None)
    if not isinstance(operation, Operation):
        raise TypeError("the conventions stand before an operation itself, and before every other decorator")
    stated, parameters = rules_of(operation.view_func), Parameters.of(operation)
    takes_json = any(model.__ninja_param_source__ == "body" for model in operation.models)

    def answered(request: HttpRequest, **arguments: Any) -> HttpResponseBase:
        if operation.auth_callbacks or not (request.method == "GET" or stated.is_read):
            return run(request, **arguments)
        with one_snapshot():
            return run(request, **arguments)

    @wraps(run)
    def held(request: HttpRequest, **arguments: Any) -> HttpResponseBase:
        budget = charge(request, by_agents=stated.by_agents, is_read=stated.is_read)
        try:
            budget.refuse_spent(request.path[:200])
            parameters.refuse_others(request)
            has_files = stated.takes_files and request.content_type == FILES
            refuse_large_body(request, settings.ENVIRONMENT.max_release_bytes if has_files else stated.max_body)
            if takes_json:
                refuse_other_body(request, [JSON_TYPE])
            elif stated.takes_files:
                refuse_other_body(request, [JSON_TYPE, FILES])
            made = _made_meanwhile(request, stated, arguments)
        except PortalError as error:
            response: HttpResponseBase = operation.api.on_exception(request, error)
        else:
            response = made or answered(request, **arguments)
            know_token(request)
        budget.tell(response)
        _say_how_long(request, response, operation, stated)
        return response

    return held


def _made_meanwhile(
    request: HttpRequest, stated: OperationRules, arguments: Mapping[str, Any]
) -> HttpResponseBase | None:
    """The answer that another request made while this one waited, if there is one; else what it follows from is noted,
    before it is made.

    What has no state that could be read is refused by its operation, by name.
    """
    if stated.state is None or request.method != "GET":
        return None
    try:
        return note_state(request, partial(stated.state, **arguments))
    except AnswerTakesLong:
        raise
    except (PortalError, Http404):
        return None


def _say_how_long(
    request: HttpRequest, response: HttpResponseBase, operation: Operation, stated: OperationRules
) -> None:
    """Nothing is kept that was made for a token, changed anything or went wrong."""
    if "Cache-Control" in response:
        return
    is_read = request.method == "GET" and response.status_code == _OK and not operation.auth_callbacks
    response["Cache-Control"] = stated.kept if is_read else NOT_KEPT

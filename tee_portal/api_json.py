"""JSON as the API reads and writes it: one reading only, and moments to the microsecond."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser
from ninja.renderers import JSONRenderer
from ninja.responses import NinjaJSONEncoder

from builds.domain.json_depth import read_shallow_json
from builds.domain.moment import written


class _Encoder(NinjaJSONEncoder):
    def default(self, o: Any) -> Any:
        # The framework cuts off what is less than a millisecond: a moment before the one that is meant.
        return written(o) if isinstance(o, datetime) else super().default(o)


class ExactRenderer(JSONRenderer):
    """Moments as they are stored, so that an answer's own moment can be asked for again."""

    encoder_class = _Encoder


class StrictParser(Parser):
    """Bodies that the framework reads, which it does after it has looked at the token."""

    def parse_body(self, request: HttpRequest) -> Any:
        return read_shallow_json(request.body)

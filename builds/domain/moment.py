"""Moments as questions name them: date and time of RFC 3339, never without their offset."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from builds.domain.frozen import Utc


def written(moment: datetime) -> str:
    """As RFC 3339 has it, in UTC, to the microsecond: nothing is cut off that ``Moment`` could ask for."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_OFFSET = re.compile(r"[Zz]|[+-]\d\d:\d\d", re.ASCII)


def _rfc_3339(value: object) -> object:
    """A validator: pydantic alone would also take a number of seconds."""
    found = _DATE_TIME.match(value) if isinstance(value, str) else None
    if not isinstance(value, str) or found is None:
        raise PydanticCustomError("datetime_parsing", "no date and time of RFC 3339")
    if found.end() == len(value):
        raise PydanticCustomError("timezone_aware", "no offset")
    if not _OFFSET.fullmatch(value, found.end()):
        raise PydanticCustomError("datetime_parsing", "no date and time of RFC 3339")
    return value


# No alias of its own kind (PEP 695): the framework would not look into it.
Moment = Annotated[Utc, BeforeValidator(_rfc_3339)]
"""In UTC."""

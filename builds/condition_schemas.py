"""The API's one shape for conditions of a decision, and how it is filled."""

from __future__ import annotations

from typing import Literal

from ninja import Schema

from builds.domain.conditions import Condition


class ConditionOut(Schema):
    """A condition of a decision by its name, with the reason in a sentence; any other state than ``met`` denies."""

    condition: str
    state: Literal["met", "unmet", "unknown"]
    reason: str


def condition_out(condition: Condition) -> ConditionOut:
    return ConditionOut(condition=condition.key, state=condition.state.value, reason=condition.sentence)

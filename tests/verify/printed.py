"""What the program prints, read back."""

from __future__ import annotations

import json


def states(text: str) -> dict[str, str]:
    return {entry["axis"]: entry["state"] for entry in json.loads(text)["findings"]}


def reason(text: str, axis: str) -> str:
    return next(entry["reason"] for entry in json.loads(text)["findings"] if entry["axis"] == axis)

"""What the tables share: append-only facts, and constraints on digests."""

from __future__ import annotations

from enum import StrEnum
from typing import Never

from django.db import models
from django.db.models import F, Func, Q

SHA256_HEX = r"^[0-9a-f]{64}$"
SHA384_HEX = r"^[0-9a-f]{96}$"


def choices(values: type[StrEnum]) -> list[tuple[str, str]]:
    """The members of an enumeration as Django's choices."""
    return [(member.value, member.value) for member in values]


def hex_or_empty(field: str, pattern: str) -> Q:
    """A constraint: the field matches ``pattern`` or is empty, which means not known."""
    return Q(**{field: ""}) | Q(**{f"{field}__regex": pattern})


TAIL_CHARACTERS = 8


def tail(field: str, length: int) -> Func:
    """The last ``TAIL_CHARACTERS`` of a digest of ``length`` characters, as an index on them and queries spell it.

    With numbers in the text: an index on an expression serves only queries that say exactly the same.
    """
    return Func(
        F(field),
        template=f"SUBSTR(%(expressions)s, {length - TAIL_CHARACTERS + 1}, {TAIL_CHARACTERS})",
        output_field=models.CharField(),
    )


class AppendOnly(models.Model):
    """Facts: written once, never edited or deleted on their own."""

    class Meta:
        abstract = True

    def save(self, *, force_insert: bool = True, **options: object) -> None:  # type: ignore[override]
        if not self._state.adding:
            self._refuse()
        super().save(force_insert=True, **options)  # type: ignore[arg-type]

    def delete(self, *_: object, **__: object) -> Never:
        self._refuse()

    def _refuse(self) -> Never:
        raise TypeError(f"{type(self).__name__} is append-only: add a new fact instead")

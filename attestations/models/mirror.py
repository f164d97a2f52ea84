"""What the mirror was last told of each part, so that only what changed is made again."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from builds.models import Release
from builds.models.base import SHA256_HEX


class MirroredRelease(models.Model):
    """A release's document in the mirror. Kept here and not read from the mirror, whose files others may write."""

    release = models.OneToOneField(Release, models.CASCADE, related_name="mirrored")
    version = models.CharField(max_length=64)
    """SHA-256 over what the document follows from, without reading it all."""
    document = models.BinaryField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(version__regex=SHA256_HEX), name="mirrored_release_version"),
        ]

    def __str__(self) -> str:
        return f"{self.release}"


class MirroredPart(models.Model):
    """An index of the mirror that is made as a whole: what it was made from, and where it begins."""

    name = models.CharField(max_length=40, unique=True)
    version = models.CharField(max_length=200)
    content = models.JSONField()

    def __str__(self) -> str:
        return self.name


class MirrorSequence(models.Model):
    """The number of the newest checkpoint that was ever signed here; one row, which only grows."""

    number = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return str(self.number)

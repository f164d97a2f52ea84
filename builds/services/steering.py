"""Who may cancel a rebuild or ask for it again."""

from __future__ import annotations

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db.models import Q

from builds.domain.queue import MAX_ATTEMPTS
from builds.models import Rebuild, RebuildRequest


def may_steer(user: AbstractBaseUser | AnonymousUser, rebuild: Rebuild) -> bool:
    """Whether somebody may: staff, and whoever asked for it first. Who joined it may watch."""
    if not user.is_authenticated or not user.is_active:
        return False
    return bool(getattr(user, "is_staff", False)) or _asked_for(user, rebuild)


def _asked_for(user: AbstractBaseUser | AnonymousUser, rebuild: Rebuild) -> bool:
    """Also one that was opened again in the place of one that was lost: what they asked for goes on in it."""
    line, path = Q(rebuild=rebuild), "rebuild"
    if rebuild.retry_of_id is not None:
        for _ in range(1, MAX_ATTEMPTS):
            path += "__retried_by"
            line |= Q(**{path: rebuild})
    return RebuildRequest.objects.filter(line, account_id=user.pk, joined=False).exists()

"""A broker that is away costs a page nothing: the hint gives up at once."""

from __future__ import annotations

import time
import uuid

import pytest
from kombu.exceptions import OperationalError

from builds.tasks import run_rebuild
from tee_portal.celery import app
from tests.support.portal import free_port


def test_a_hint_to_a_broker_that_is_away_gives_up_at_once() -> None:
    with app.connection_for_write(f"redis://127.0.0.1:{free_port()}/0") as away:
        began = time.monotonic()
        with pytest.raises(OperationalError):
            run_rebuild.apply_async([str(uuid.uuid4())], connection=away)
        assert time.monotonic() - began < 2

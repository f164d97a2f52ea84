"""A portal that is a test says so at the head of every page."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tee_portal.env import Environment

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("address", ["/", "/queue/", "/signin/"])
def test_what_the_operator_has_to_say_stands_first_and_is_text(client: Client, settings: Any, address: str) -> None:
    assert 'role="note"' not in client.get(address).content.decode()
    settings.ENVIRONMENT = Environment(notice="A demo <b>only</b>.")
    page = client.get(address).content.decode()
    before, _, after = page.partition('<main id="content">')
    assert "A demo" not in before
    assert after.lstrip().startswith('<p class="panel open" role="note">A demo &lt;b&gt;only&lt;/b&gt;.</p>')

"""How often the API answers: who is counted as whom, what the answers say of it, and what happens without Redis."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from builds.models import Release
from tee_portal import throttle
from tee_portal.env import Environment
from tee_portal.throttle import LocalCounter, RedisCounter
from tests.support.accounts import token_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands, 15 seconds before its minute ends."""
    monkeypatch.setattr(throttle.time, "time", lambda: 1_800_000_045.0)
    throttle._known_tokens.clear()


@pytest.fixture
def few(settings: Any) -> None:
    settings.ENVIRONMENT = Environment(reads_per_minute=3, writes_per_minute=2, agent_requests_per_minute=5)


def test_each_answer_says_what_is_left(few: None, client: Client) -> None:
    left = [client.get("/api/v1/releases")["RateLimit"] for _ in range(3)]
    assert left == ['"reads";r=2;t=15', '"reads";r=1;t=15', '"reads";r=0;t=15']
    refused = client.get("/api/v1/queue")
    assert (refused.status_code, refused["Retry-After"], refused["RateLimit"]) == (429, "15", '"reads";r=0;t=15')
    assert refused["RateLimit-Policy"] == '"reads";q=3;w=60'
    assert refused["Content-Type"] == "application/problem+json"
    assert refused.json()["code"] == "too-many-requests"
    assert refused["Cache-Control"] == "no-store"


def test_reads_writes_and_rebuilders_are_counted_apart(few: None, client: Client) -> None:
    assert [client.get("/api/v1/releases").status_code for _ in range(4)] == [200, 200, 200, 429]
    writes = [client.post("/api/v1/rebuilds", {}, content_type="application/json") for _ in range(3)]
    assert [answer.status_code for answer in writes] == [401, 401, 429]
    assert client.post("/api/v1/claims", b"{}", content_type="application/json")["RateLimit"] == '"agents";r=4;t=15'


def test_an_answer_that_is_known_and_head_count_as_reads(few: None, client: Client) -> None:
    tag = client.get("/api/v1/releases")["ETag"]
    known = client.get("/api/v1/releases", HTTP_IF_NONE_MATCH=tag)
    assert (known.status_code, known["RateLimit"]) == (304, '"reads";r=1;t=15')
    assert client.head("/api/v1/releases")["RateLimit"] == '"reads";r=0;t=15'


def test_the_next_minute_begins_anew(few: None, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        client.get("/api/v1/releases")
    monkeypatch.setattr(throttle.time, "time", lambda: 1_800_000_060.0)
    assert client.get("/api/v1/releases")["RateLimit"] == '"reads";r=2;t=60'


def test_an_address_is_the_one_that_a_trusted_proxy_saw(settings: Any, client: Client) -> None:
    settings.ENVIRONMENT = Environment(reads_per_minute=1, trusted_proxies=1)
    for forwarded, status in (
        ("192.0.2.1", 200),
        ("192.0.2.2", 200),
        ("198.51.100.9, 192.0.2.1", 429),
        ("2001:db8::1", 200),
        ("2001:db8::2", 429),
    ):
        assert client.get("/api/v1/releases", HTTP_X_FORWARDED_FOR=forwarded).status_code == status
    settings.ENVIRONMENT = Environment(reads_per_minute=1)
    assert client.get("/api/v1/releases").status_code == 200
    assert client.get("/api/v1/releases", HTTP_X_FORWARDED_FOR="192.0.2.77").status_code == 429


def test_a_token_that_was_good_has_a_count_of_its_own(
    few: None, client: Client, make_release: Callable[..., Release]
) -> None:
    make_release()
    asked = {"content_type": "application/json", "headers": {"Authorization": f"Bearer {token_of('ada').secret}"}}
    wish = {"project": "enclave", "tag": "v1.0.0"}
    assert client.post("/api/v1/rebuilds", wish, **asked)["RateLimit"] == '"writes";r=1;t=15'
    assert client.post("/api/v1/rebuilds", wish, **asked)["RateLimit"] == '"writes";r=1;t=15'
    assert client.post("/api/v1/rebuilds", wish, **asked).status_code == 200
    assert client.post("/api/v1/rebuilds", wish, **asked).status_code == 429
    assert client.post("/api/v1/rebuilds", wish, content_type="application/json").status_code == 401


def test_tokens_that_are_made_up_count_for_the_address(few: None, client: Client) -> None:
    statuses = [
        client.generic("POST", "/api/v1/rebuilds", headers={"Authorization": f"Bearer teep_{number:043d}"}).status_code
        for number in range(3)
    ]
    assert statuses == [401, 401, 429]


def test_counting_asks_the_database_nothing(client: Client, django_assert_num_queries: Callable[[int], Any]) -> None:
    header = {"Authorization": f"Bearer {token_of('ada').secret}"}
    with django_assert_num_queries(0):
        assert client.get("/api/v1/openapi.json", headers=header).status_code == 200


def test_a_process_remembers_a_bounded_number_of_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_MOST_KEPT", 10)
    counter = LocalCounter()
    for number in range(100):
        counter.count(f"reads:{number}", 1)
        assert len(counter._counted) <= 10


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server")
    path = tmp_path / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(path)
            yield f"unix://{path}", process
        finally:
            process.kill()


def _wait_for(path: Path) -> None:
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as asked:
            if path.exists() and asked.connect_ex(str(path)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("Redis does not start")


def test_processes_with_one_redis_count_together_and_its_counts_end(
    redis_server: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = redis_server
    monkeypatch.setattr(throttle, "_TELL_SECONDS", 0.0)
    one, other = RedisCounter(url), RedisCounter(url)
    assert [one.count("reads:a", 1), other.count("reads:a", 1), one.count("reads:b", 1)] == [1, 2, 1]
    assert one.count("reads:a", 2) == 1
    seconds = [one._redis.ttl(key) for key in one._redis.scan_iter()]
    assert len(seconds) == 3
    assert all(0 < left <= 120 for left in seconds)
    one._redis.close()
    other._redis.close()


def test_a_process_tells_redis_now_and_then_and_counts_its_own_exactly_meanwhile(
    redis_server: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    url, _ = redis_server
    one, other = RedisCounter(url), RedisCounter(url)
    assert [one.count("reads:a", 1) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert int(one._redis.get("tee-portal:requests:reads:a:1")) == 1  # type: ignore[arg-type]
    assert other.count("reads:a", 1) == 2, "of the other it knows what that one told"
    now += throttle._TELL_SECONDS
    assert one.count("reads:a", 1) == 7
    assert other.count("reads:a", 1) == 8
    assert other.count("reads:b", 1) == 1
    for counter in (one, other):
        counter._redis.close()


def test_what_was_counted_while_redis_was_away_is_told_when_it_is_back(
    redis_server: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    url, _ = redis_server
    counter = RedisCounter(url)
    away = RedisCounter("unix:///nowhere/redis.sock")
    there, counter._redis = counter._redis, away._redis
    assert [counter.count("reads:a", 1) for _ in range(3)] == [1, 2, 3]
    counter._redis = there
    now += throttle._REDIS_AWAY_SECONDS
    assert counter.count("reads:a", 1) == 4
    assert int(there.get("tee-portal:requests:reads:a:1")) == 4  # type: ignore[arg-type]
    there.close()


def test_reads_go_on_while_redis_is_away_and_are_counted_by_the_process(
    redis_server: tuple[str, subprocess.Popen[bytes]],
    settings: Any,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ENVIRONMENT = Environment(reads_per_minute=3)
    url, process = redis_server
    counter = RedisCounter(url)
    monkeypatch.setattr(throttle, "counter", lambda: counter)
    monkeypatch.setattr(throttle, "_TELL_SECONDS", 0.0)
    assert client.get("/api/v1/releases").status_code == 200
    process.kill()
    process.wait()
    begun = time.monotonic()
    assert [client.get("/api/v1/releases").status_code for _ in range(3)] == [200, 200, 429]
    assert time.monotonic() - begun < 2
    counter._redis.close()


def test_the_fields_are_structured_fields_as_the_draft_has_them(client: Client) -> None:
    answer = client.get("/api/v1/releases")
    assert re.fullmatch(r'"reads";q=600;w=60', answer["RateLimit-Policy"])
    assert re.fullmatch(r'"reads";r=599;t=\d+', answer["RateLimit"])


def test_a_socket_is_counted_at_as_celery_names_it(
    redis_server: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "_TELL_SECONDS", 0.0)
    path = urlsplit(redis_server[0]).path
    assert RedisCounter(f"redis+socket://{path}?virtual_host=3").count("somebody", 1) == 1
    assert RedisCounter(f"unix://{path}?db=3").count("somebody", 1) == 2
    assert RedisCounter(f"redis+socket://{path}").count("somebody", 1) == 1


def test_a_redis_that_only_celery_can_name_is_no_failure() -> None:
    assert isinstance(throttle.counter_at("sentinel://127.0.0.1:26379"), LocalCounter)

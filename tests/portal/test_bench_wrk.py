"""What a load generator prints becomes figures, and never of answers that were failures."""

from __future__ import annotations

import pytest

from builds.bench.wrk import Load, parsed
from builds.domain.errors import PortalError

PRINTED = """\
Running 3s test @ http://127.0.0.1:8000/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     7.90ms    1.35ms  21.10ms   91.00%
    Req/Sec     1.02k    40.11     1.10k    70.00%
  Latency Distribution
     50%    7.73ms
     75%    8.01ms
     90%    8.90ms
     99%   14.21ms
  3055 requests in 3.00s, 1.20MB read
{more}Requests/sec:   1017.91
Transfer/sec:    410.02KB
"""


@pytest.mark.parametrize(("shown", "seconds"), [("14.21ms", 0.01421), ("  980us", 0.00098), ("  1.02s ", 1.02)])
def test_rate_and_percentile_are_read(shown: str, seconds: float) -> None:
    assert parsed(PRINTED.format(more="").replace("14.21ms", shown), "x") == Load(1017.91, pytest.approx(seconds))


@pytest.mark.parametrize(
    "more",
    ["  Non-2xx or 3xx responses: 12\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"],
)
def test_a_run_with_failures_gives_no_figure(more: str) -> None:
    with pytest.raises(PortalError, match=more.strip().split(":")[0]):
        parsed(PRINTED.format(more=more), "http://127.0.0.1:8000/")


def test_what_is_no_such_print_is_named() -> None:
    with pytest.raises(PortalError, match="something else"):
        parsed("unable to connect", "x")

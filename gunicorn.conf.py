"""The web server's settings, wherever it is started: make demo, make serve, the container."""

from __future__ import annotations

import gc

# A process computes one page at a time whatever its threads, and half of a page's time is the database's: four use two
# cores. In each, readers of logs wait for pages (builds.pages_first).
workers = 4
# Most of them wait: for a place in the line of those who read whole logs (builds.log_gate lets 8 stand there, and as
# many that download), or for a client that takes its answer slowly. The rest is for pages. Together they are fewer
# than the connections that a PostgreSQL server takes by default (100).
threads = 22
# A page that polls every two seconds keeps its connection.
keepalive = 5
# Its control socket would lie in HOME, outside the clone and shared by all clones of a user.
control_socket_disable = True
# An address may carry a kernel command line of 4,096 bytes; this is the most that gunicorn allows.
limit_request_line = 8190


def post_worker_init(_worker: object) -> None:
    """What was loaded at the start stays for good: the collector need not walk it again during somebody's page."""
    gc.collect()
    gc.freeze()

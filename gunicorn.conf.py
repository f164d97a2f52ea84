"""The web server's settings, wherever it is started: make demo, make serve, the container."""

threads = 4
# Its control socket would lie in HOME, outside the clone and shared by all clones of a user.
control_socket_disable = True
# An address may carry a kernel command line of 4,096 bytes; this is the most that gunicorn allows.
limit_request_line = 8190

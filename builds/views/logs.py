"""The log of one rebuild: as pages, as plain text, and as what came since."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from builds import log_gate
from builds.log_gate import one_at_a_time
from builds.pages_first import after_pages
from builds.raw_files import FOREVER
from builds.services import build_logs, log_pages
from builds.views.cursors import number


@require_safe
@one_at_a_time
def log(request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponseBase:
    """A page of the log: around a line, around the first error, or what a search found."""
    query = request.GET.get("q", "").strip()
    line = number(request, "line", 1)
    page: log_pages.LogPage | int
    if query:
        page = log_pages.found_page(rebuild_id, query, number(request, "from", 1))
    elif "first-error" in request.GET:
        page = log_pages.error_line(rebuild_id)
        if isinstance(page, int):
            # An address of its own, that shows the line itself and can be given to somebody.
            return redirect(f"{request.path}?line={page}&error#L{page}")
    else:
        page = log_pages.line_page(rebuild_id, line, as_error="error" in request.GET)
    return render(request, "builds/log.html", {"page": page})


@require_safe
def log_tail(request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponse:
    """Lines after the one that a reader has, to be appended; 204 when there is none."""
    with after_pages():
        tail = build_logs.tail(rebuild_id, number(request, "after", 0))
        if tail is None:
            return HttpResponse(status=204)
        # Without the request: nothing in it depends on who asks, and no session is read.
        return HttpResponse(render_to_string("builds/partials/log_tail.html", {"tail": tail, "rebuild_id": rebuild_id}))


@require_safe
def log_text(request: HttpRequest, rebuild_id: uuid.UUID, *, as_file: bool = False) -> HttpResponseBase:
    """The whole log so far as plain text; of a run that has ended, the same for ever."""
    with after_pages():
        size = build_logs.log_size(rebuild_id)
    headers = {"X-Content-Type-Options": "nosniff", "Content-Length": str(size.bytes)}
    if as_file:
        headers["Content-Disposition"] = f'attachment; filename="{rebuild_id}.log.txt"'
    etag = f'"{rebuild_id}-{size.bytes}"'
    if size.is_final:
        headers |= {"ETag": etag, "Cache-Control": FOREVER}
        if isinstance(get_conditional_response(request, etag=etag), HttpResponseNotModified):
            return HttpResponseNotModified(headers={"ETag": etag, "Cache-Control": FOREVER})
    if request.method == "HEAD":
        return HttpResponse(content_type=log_gate.PLAIN, headers=headers)
    try:
        return log_gate.whole_log(build_logs.blocks(rebuild_id, size.bytes), size.bytes, headers)
    except log_gate.LogReadersWait:
        return log_gate.busy()

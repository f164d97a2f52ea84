"""Changes of verdicts as an Atom feed (RFC 4287)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.feedgenerator import Atom1Feed
from django.utils.html import format_html, format_html_join
from django.utils.xmlutils import SimplerXMLGenerator

from attestations.services.changes import Change
from builds.domain.printable import one_line, xml_text

_LONGEST_SENTENCE = 20_000


class VerdictFeed(Atom1Feed):
    """Django's feed with what it lacks: content, a link to the signed summary, and a moment of its own when empty."""

    def latest_post_date(self) -> datetime:
        changed_at: datetime = self.feed["changed_at"]
        return changed_at

    def add_item_elements(self, handler: SimplerXMLGenerator, item: dict[str, Any]) -> None:
        super().add_item_elements(handler, item | {"description": None})
        handler.addQuickElement("content", item["content"], {"type": "html"})
        if item["summary_link"]:
            link = {"rel": "related", "href": item["summary_link"], "title": "Signed verification summary"}
            handler.addQuickElement("link", "", link)


def feed_of(
    changes: Sequence[Change], *, base: str, path: str, page: str, name: str, urn: str, changed_at: datetime
) -> bytes:
    """The feed at ``path``, about what ``page`` shows and ``name`` says, newest change first.

    ``base`` is the portal's public address; ``changed_at`` is when the newest change came, or the thing itself.
    """
    feed = VerdictFeed(
        title=xml_text(f"{name}: verdicts"),
        link=f"{base}{page}",
        description="",
        subtitle="What each verdict became, and what changed. Every entry's summary is signed.",
        author_name="TEE Portal",
        feed_url=f"{base}{path}",
        feed_guid=urn,
        language="en",
        changed_at=changed_at,
    )
    for change in changes:
        _add(feed, change, base)
    return feed.writeString("utf-8").encode()


def _add(feed: VerdictFeed, change: Change, base: str) -> None:
    digest = change.record.payload_sha256
    release = change.release
    feed.add_item(
        title=xml_text(f"{release.project.name} {change.title}"),
        link=f"{base}{release.get_absolute_url()}",
        description="",
        unique_id=change.uuid.urn,
        pubdate=change.at,
        updateddate=change.at,
        categories=[change.after.decision],
        content=_content(change),
        summary_link=f"{base}{reverse('vsa-bundle', args=[digest])}" if digest else "",
    )


def _content(change: Change) -> str:
    """HTML that a reader's program shows: paragraphs and a list, nothing that runs or loads."""
    lines = format_html_join("", "<li>{}</li>", ((xml_text(line),) for line in change.lines))
    sentence = xml_text(one_line(change.after.sentence, _LONGEST_SENTENCE))
    return str(format_html("<p>{}</p><ul>{}</ul>", sentence, lines))

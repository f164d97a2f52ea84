"""What a browser is asked about a page: complaints, violations of its policy, accessibility, width, and a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import ConsoleMessage, Page

AXE = Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js"
# What the Web Content Accessibility Guidelines ask for up to 2.2 AA, and the field's best practices.
_AXE_OPTIONS = {"resultTypes": ["violations"]}
_HEAR_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
_TALLEST = 1800
_COLOURS = 64


@dataclass
class Watched:
    """A page, and all that its browser complained about since it was opened."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(_HEAR_VIOLATIONS)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    @property
    def violations(self) -> list[str]:
        """Of the page's Content Security Policy, since it was loaded."""
        found: list[str] = self.page.evaluate("window.violations")
        return found

    @property
    def overflows(self) -> bool:
        """Whether the page as a whole has to be scrolled sideways."""
        wider: bool = self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        return wider

    def foreign_requests(self, address: str) -> list[str]:
        """Whatever was loaded from elsewhere than ``address``."""
        loaded: list[str] = self.page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        return [name for name in loaded if not name.startswith(address)]

    def axe(self) -> list[str]:
        """What axe-core finds wrong: rule, and where."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: dict[str, Any] = self.page.evaluate("(options) => axe.run(document, options)", _AXE_OPTIONS)
        return [
            f"{entry['id']}: {', '.join(str(node['target'][0]) for node in entry['nodes'][:5])}"
            for entry in found["violations"]
        ]

    def picture(self, path: Path) -> None:
        """The page's upper part as a small PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        height: int = self.page.evaluate("document.documentElement.scrollHeight")
        width: int = self.page.evaluate("window.innerWidth")
        area = {"x": 0, "y": 0, "width": width, "height": min(height, _TALLEST)}
        taken = self.page.screenshot(full_page=True, clip=area, animations="disabled")  # type: ignore[arg-type]
        with Image.open(io.BytesIO(taken)) as image:
            image.convert("RGB").quantize(_COLOURS).save(path, optimize=True)

// What pages do beyond HTML: copy, times in the reader's zone, and polling that rests while nobody looks.
// Every page says the same without this file.
"use strict";

(() => {
  const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  // The server writes UTC; the reader's own zone is shown, which the foot of the page names, and UTC stays in the title.
  function localTimes(root) {
    for (const time of root.querySelectorAll("time[data-local]")) {
      const moment = new Date(time.dateTime);
      if (Number.isNaN(moment.valueOf())) continue;
      time.textContent = when.format(moment);
      time.removeAttribute("data-local");
    }
  }

  const zone = when.resolvedOptions().timeZone;
  for (const said of document.querySelectorAll("[data-zone]")) {
    if (zone !== "UTC") said.textContent = `Times are those of ${zone} unless they say UTC; each has UTC in its title.`;
  }

  function showCopyButtons(root) {
    if (!navigator.clipboard) return;
    for (const button of root.querySelectorAll("button.copy[hidden]")) button.hidden = false;
  }

  function prepare(root) {
    localTimes(root);
    showCopyButtons(root);
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) return;
    const source = button.dataset.copy ?? document.getElementById(button.dataset.copyFrom)?.textContent ?? "";
    const word = button.textContent;
    try {
      await navigator.clipboard.writeText(source);
      button.textContent = "copied";
    } catch {
      button.textContent = "not copied";
    }
    setTimeout(() => { button.textContent = word; }, 1500);
  });

  // Between two polls the clock of what runs goes on here; the server writes the same words.
  function spanOf(seconds) {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
    return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }
  setInterval(() => {
    for (const element of document.querySelectorAll("[data-since]")) {
      const seconds = (Date.now() - new Date(element.dataset.since)) / 1000;
      if (seconds >= 0) element.textContent = spanOf(seconds);
    }
  }, 1000);

  // A log that is read at its end stays there; who reads further up is left alone. What is far above is let go.
  const MOST_LINES = 5000;
  const isAtEnd = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id === "log") event.detail.target.dataset.follows = isAtEnd(event.detail.target);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const box = event.detail.target;
    if (box.id !== "log" || box.dataset.follows !== "true") return;
    while (box.childElementCount > MOST_LINES) box.firstElementChild.remove();
    box.scrollTop = box.scrollHeight;
  });

  // A tab that nobody sees asks for nothing; when it is seen again it asks at once.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.matches("[data-poll]")) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !window.htmx) return;
    for (const element of document.querySelectorAll("[data-poll]")) window.htmx.trigger(element, "seen");
  });
  document.addEventListener("htmx:load", (event) => prepare(event.target));

  prepare(document);
  const live = document.querySelector("[data-poll]") && document.getElementById("log");
  if (live) live.scrollTop = live.scrollHeight;
})();

"""What tests of the page share: a browser, jobs to look at, and what must hold on every view."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from page_files import contrast
from service_http import Server

from nas.service.event_log import EventLog
from nas.service.requests import JobRequest
from nas.service.store.jobs import Job, Lease

CHROMIUM = shutil.which("chromium")
FLAGS = ("--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run")
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
TEXT = 4.5  # contrast that WCAG 2.2 asks of text, AA

# Every text with its colour and the first colour behind it; what has no name; what is too wide.
_AUDIT = """() => {
  const shown = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true })
    && !node.closest('.unseen, .skip, dialog');
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const said = (node) => node.outerHTML.slice(0, 120);
  const name = (node) => node.getAttribute('aria-label') || node.textContent.trim()
    || node.querySelector('img[alt]:not([alt=""])');
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if (!/, 0\\)|transparent/.test(backgroundColor)) return backgroundColor;
    }
    return 'rgb(255, 255, 255)';
  };
  const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
  const wrong = [
    ...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `twice: #${id}`),
    ...all('input, select').filter((node) => !node.labels.length && !node.ariaLabel)
      .map((node) => `no label: ${said(node)}`),
    ...all('a, button, summary, [role=option]').filter((node) => !name(node))
      .map((node) => `no name: ${said(node)}`),
    ...all('img:not([alt])').map((node) => `no alt: ${said(node)}`),
    ...['aria-describedby', 'aria-labelledby', 'for'].flatMap((attribute) =>
      [...document.querySelectorAll(`[${attribute}]`)].filter((node) =>
        node.getAttribute(attribute).split(' ').some((id) => !document.getElementById(id)))
        .map((node) => `${attribute} leads nowhere: ${said(node)}`)),
  ];
  if (all('h1').length !== 1) wrong.push(`${all('h1').length} headings of the first rank`);
  const sideways = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (sideways > 0) wrong.push(`${sideways} px too wide`);
  const texts = all('body *').filter((node) => !node.closest('svg, select, :disabled')
    && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .map((node) => [getComputedStyle(node).color, behind(node), said(node)]);
  return { wrong, texts };
}"""


class Catalogue:
    """The helper of a server that runs nothing."""

    async def rows(self, kind: str) -> Sequence[Mapping[str, Any]]:
        names = {"supernets": ("mobilenet-fmnist", "hubert-digits"), "devices": ("host", "t4"),
                 "searchers": ("linas", "random"), "proxies": ("naswot", "zico"),
                 "executors": ("serial", "process")}
        return [{"name": name} for name in names[kind]]

    async def check(self, request: JobRequest) -> None:
        del request


@contextmanager
def opened(browser: Any, url: object, *, complaints: list[str], **options: Any) -> Iterator[Any]:
    """Yields a page of a new profile; what its console complains of goes into a list.

    Answers that are no success are none of it: the page has to expect them.
    """
    context = browser.new_context(base_url=str(url), **{"viewport": DESKTOP, **options})
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type in (
        "error", "warning") and "Failed to load" not in said.text else None)
    try:
        yield page
    finally:
        context.close()


def audit(page: Any) -> list[str]:
    """Returns what is wrong with a view for those who do not see it well, or on a phone."""
    found = page.evaluate(_AUDIT)
    faint = [f"contrast {ratio:.2f}: {said}" for ink, paper, said in found["texts"]
             if (ratio := contrast(_hex(ink), _hex(paper))) < TEXT]
    return [*found["wrong"], *faint]


def _hex(colour: str) -> str:
    channels = colour.partition("(")[2].rstrip(")").split(",")[:3]
    return "#" + "".join(f"{int(channel):02x}" for channel in channels)


def trial(number: int, *, error: float, latency_ms: float) -> dict[str, Any]:
    """Returns a validation as a search tells of it."""
    return {"id": number, "digest": f"{number:012x}", "final": True, "error": None,
            "arch": {"stage1.width": 16 + number, "stage1.block0.kernel": 3},
            "metrics": {"error": error, "latency_ms": latency_ms, "params": 20_000 + number},
            "counts": {"sampled": 10 * (number + 1), "early_exits": {"macs": 4 * number},
                       "evaluated": number + 1, "partial": 0, "failed": 0}}


def searching(server: Server, *, count: int, **config: Any) -> tuple[Job, Lease, EventLog]:
    """Returns a running search with so many validations; all of them are on its front."""
    job = server.job(**config)
    lease, log = server.claim(job), server.log(job)
    log.append("state", state="running", error=None)
    for number in range(count):
        log.append("trial", **trial(number, error=9.0 - number, latency_ms=0.05 + 0.02 * number))
        log.append("progress", stage="search", done=number + 1, total=config.get("budget", 64),
                   note=f"error {9 - number:.2f} %")
    return job, lease, log


def finish(server: Server, lease: Lease, log: EventLog) -> None:
    """Ends a search whose trial 0 is exported."""
    job, best = lease.job, trial(0, error=9.0, latency_ms=0.05)
    result = {"best": {**best, "test": {"error": 6.7}, "measured_latency_ms": 0.0512},
              "quality": {"error": "", "inputs": "images", "name": "error", "unit": "%"},
              "counts": best["counts"], "device": {"id": "host", "kind": "measured"},
              "stopped": None}
    server.write(job, "best/manifest.json", b"{}")
    server.write(job, "best/model.onnx", b"weights")
    server.write(job, "report.html", b"<!doctype html><title>report</title>")
    server.folder.result(job.id).write_text(json.dumps(result))
    server.service.store.end(lease, state="done", ran_s=75.0, error=None)
    log.append("state", state="done", error=None)
    log.close()

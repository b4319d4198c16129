"""The page in a real browser: submit a search, watch it finish, download its bundle, run that.

Chromium is driven by the keyboard alone until the bundle is on the disk. The bundle is then
verified and its network run by ONNX Runtime on the test images. Screenshots of every view are
taken, at the width of a desktop and of a phone, light and dark; some go into docs/images.

    python tests/benchmarks/bench_service_browser.py [--shots FOLDER] [--only-print]
"""

import argparse
import json
import tempfile
import time
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
from _report import FOLDER, write_report
from _service import Service
from playwright.sync_api import Browser, Page, sync_playwright

from nas.export.verify import verify_bundle
from nas.pipeline.compose import load_supernet

SEED = 0
CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PATIENCE_MS = 300_000
IMAGES = {"serve.png": "job-desktop-light-top", "serve-compare.png": "compare-desktop-dark-top"}


def main() -> None:
    """Drives, looks, prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--only-print", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        root = Path(name)
        service = Service(root / "data", root / "cache")
        service.start()
        service.wait(service.submit("search", {"budget": 24, "seed": 1}))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        figures = {"chromium": browser.version, **watched(browser, service, root)}
        shots = options.shots or root / "shots"
        shots.mkdir(parents=True, exist_ok=True)
        figures["views_that_scroll_sideways"] = photographed(browser, service, shots)
        browser.close()
        service.stop()
        if not options.only_print:
            for image, shot in IMAGES.items():
                (FOLDER.parent / "images" / image).write_bytes((shots / f"{shot}.png").read_bytes())
    figures["playwright"] = version("playwright")
    print(json.dumps(figures, indent=1))
    if not options.only_print:
        print(write_report("service_browser", figures, seed=SEED))


def watched(browser: Browser, service: Service, root: Path) -> dict[str, Any]:
    """Submits by keyboard, watches, downloads and runs the network."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text)
            if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(service.url)
    page.get_by_role("link", name="New job").first.wait_for()
    press_to(page, "New job")
    page.keyboard.press("Enter")
    page.get_by_label("budget", exact=False).first.wait_for()
    refused = fill_in(page, "budget", "0")
    fill_in(page, "budget", "24", submit=False)
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/job/*")
    started = time.monotonic()
    job = page.url.rpartition("/")[2]
    networks = []
    while service.job(job)["state"] in ("queued", "running"):
        networks.append(page.locator("svg circle, svg [role=option], svg .dot").count())
        time.sleep(0.5)
    page.get_by_role("link", name="bundle.zip").first.wait_for(timeout=PATIENCE_MS)
    watched_s = time.monotonic() - started
    press_to(page, "bundle.zip")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    bundle = root / "bundle"
    with zipfile.ZipFile(download.value.path()) as file:
        file.extractall(bundle)
    context.close()
    return {"refused_with": refused, "watched_s": round(watched_s, 1),
            "networks_on_the_front_as_it_grew": sorted(set(networks)), "console_errors": wrong,
            **run(bundle, service.job(job))}


def run(bundle: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Runs the downloaded network on the test images."""
    inner = bundle if (bundle / "model.onnx").exists() else next(bundle.iterdir())
    checks = verify_bundle(inner).checks
    session = onnxruntime.InferenceSession(inner / "model.onnx",
                                           providers=["CPUExecutionProvider"])
    right = count = 0
    for x, labels in load_supernet("mobilenet-fmnist").task.batches("test"):
        (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        right += int((logits.argmax(axis=1) == labels.numpy()).sum())
        count += len(labels)
    return {"verify": {check.name: check.ok for check in checks},
            "images": count, "error_of_onnxruntime": round(100 * (1 - right / count), 3),
            "error_in_the_result": round(job["result"]["best"]["test"]["error"], 3)}


def fill_in(page: Page, label: str, text: str, *, submit: bool = True) -> str:
    """Types into a field; returns what the page says of it after submitting."""
    field = page.get_by_label(label, exact=False).first
    field.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(text)
    if not submit:
        return ""
    page.keyboard.press("Enter")
    found = page.locator("[aria-invalid=true]").first
    found.wait_for()
    described = (found.get_attribute("aria-describedby") or "").split()
    return " ".join(page.locator(f"#{name}").inner_text() for name in described[-1:])


def press_to(page: Page, name: str) -> None:
    """Presses Tab until something of that name has the focus."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if name in page.evaluate("document.activeElement.textContent"):
            return
    raise RuntimeError(f"no Tab leads to {name!r}")


def photographed(browser: Browser, service: Service, folder: Path) -> list[str]:
    """Takes pictures of every view; returns those that are wider than the screen."""
    jobs = [job["id"] for job in service.get("jobs")["jobs"]]
    views = {"jobs": "#/", "job": f"#/job/{jobs[0]}", "new": "#/new",
             "compare": f"#/compare?jobs={','.join(jobs[:2])}"}
    wide = []
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height},
                                          color_scheme=scheme)
            page = context.new_page()
            for name, route in views.items():
                page.goto(f"{service.url}/{route}")
                page.reload()
                page.wait_for_load_state()
                page.wait_for_timeout(1500)
                shot = f"{name}-{size}-{scheme}"
                page.screenshot(path=folder / f"{shot}.png", full_page=True)
                page.screenshot(path=folder / f"{shot}-top.png")
                if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    wide.append(shot)
            context.close()
    return wide


if __name__ == "__main__":
    main()

"""A search from the form to the network, with a real server and its worker."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from page_browsing import CHROMIUM, FLAGS, audit, opened

from hardware_profiles.store import CACHE_VARIABLE

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]

STARTS_S, RUNS_MS = 60.0, 120_000
SUPERNET = "tiny"  # a folder of the server's data


@pytest.fixture
def url(tiny_folder: Path, quick_profiles: Path, tmp_path: Path) -> Iterator[str]:
    """Where a server listens that runs jobs."""
    shutil.copytree(tiny_folder, tmp_path / "data" / "data" / SUPERNET)
    log = tmp_path / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", "from cli.main import run; run()", "serve", "--port", "0",
             "--data", str(tmp_path / "data")], stderr=stream,
            env={**os.environ, CACHE_VARIABLE: str(quick_profiles), "OMP_NUM_THREADS": "1"})
    try:
        end = time.monotonic() + STARTS_S
        while not (said := re.search(r"^nas serve: (http\S+)$", log.read_text(), re.MULTILINE)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield said[1]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(STARTS_S) == 0


def test_a_search_is_submitted_watched_and_its_bundle_runs(url: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        with opened(browser, url, complaints=complaints) as page:
            page.goto("/#/new")
            supernet = page.locator("[data-field=supernet]")
            # The names of the catalogue are there: they come from a process that has torch.
            expect(supernet.locator("option", has_text="mobilenet-fmnist")).to_have_count(
                1, timeout=RUNS_MS)
            supernet.locator("select").select_option(label="another …")
            supernet.locator("input").fill(SUPERNET)
            page.get_by_label("Max MACs").fill("1")
            page.locator("[data-field=budget] input").fill("4")
            page.get_by_role("button", name="Submit").click()
            refusal = page.locator(".wrong:visible")
            expect(refusal).to_contain_text("--max-macs 1", timeout=RUNS_MS)

            page.get_by_label("Max MACs").fill("")
            page.get_by_role("button", name="Submit").click()
            expect(page.locator("h1")).to_have_text(f"data/{SUPERNET} on host", timeout=RUNS_MS)
            expect(page.locator(".job-head .state")).to_have_text("done", timeout=RUNS_MS)
            expect(page.locator("[role=option]").first).to_be_visible()
            expect(page.locator(".tiles")).to_contain_text("measured latency")
            assert audit(page) == []
            page.screenshot(path=tmp_path / "done.png", full_page=True)
            with page.expect_download() as download:
                page.get_by_role("link", name="Download bundle").click()
            download.value.save_as(tmp_path / "bundle.zip")
            with page.context.expect_page() as report:
                page.get_by_role("link", name="report.html").click()
            expect(report.value.locator("h1")).to_contain_text("test error at")
            page.get_by_role("link", name="Submit again").click()
            expect(supernet.locator("input")).to_have_value(SUPERNET)
            expect(page.locator("[data-field=budget] input")).to_have_value("4")
        browser.close()
    assert complaints == []

    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        bundle.extractall(tmp_path / "bundle")
    session = onnxruntime.InferenceSession(tmp_path / "bundle" / "model.onnx",
                                           providers=["CPUExecutionProvider"])
    [taken] = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in taken.shape]
    [logits] = session.run(None, {taken.name: np.zeros(shape, np.float32)})
    assert np.isfinite(logits).all()

"""The page in a real browser: by keyboard alone, live, on a phone, in the dark."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from page_browsing import (
    CHROMIUM,
    FLAGS,
    PHONE,
    Catalogue,
    audit,
    finish,
    opened,
    searching,
    trial,
)
from service_http import Server, listening

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]

Listening = tuple[Server, httpx2.Client]
LATE_MS = 20_000  # two cores, and the page looks every two seconds


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Listening]:
    with listening(tmp_path / "data", aside=Catalogue()) as pair:
        yield pair


@pytest.fixture
def page(live: Listening, browser: Any) -> Iterator[Any]:
    complaints: list[str] = []
    with opened(browser, live[1].base_url, complaints=complaints) as shown:
        yield shown
    assert complaints == []


def tab_to(page: Any, selector: str, *, most: int = 80) -> Any:
    """Presses Tab until the focus is on what the selector means."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.count() and focused.evaluate("(node, selector) => node.matches(selector)",
                                                selector):
            return focused
    raise AssertionError(f"{selector} cannot be reached with Tab")


def test_a_search_is_submitted_by_keyboard_alone(live: Listening, page: Any) -> None:
    page.goto("/")
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    tab_to(page, ".skip")
    tab_to(page, "#nav-new")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_be_focused()
    expect(page).to_have_title("New job: search · nas")
    budget = tab_to(page, "[data-field=budget] input")
    assert budget.input_value() == "64"
    assert budget.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.keyboard.press("Control+a")
    page.keyboard.type("0")
    page.keyboard.press("Enter")

    expect(page.locator("[data-field=budget] .wrong")).to_have_text(
        "--budget: Input should be greater than or equal to 1 (got 0)")
    expect(budget).to_be_focused()
    expect(budget).to_have_attribute("aria-invalid", "true")
    assert audit(page) == []
    page.keyboard.press("Control+a")
    page.keyboard.type("8")
    expect(page.locator("[data-field=budget] .wrong")).to_be_empty()
    page.keyboard.press("Enter")

    expect(page.locator("h1")).to_have_text("mobilenet-fmnist on host")
    expect(page.locator("h1")).to_be_focused()
    expect(page.get_by_text("Waiting for a free slot.")).to_be_visible()
    [job] = live[1].get("/api/v1/jobs").json()["jobs"]
    config = live[1].get(f"/api/v1/jobs/{job['id']}").json()["config"]
    assert (config["budget"], config["searcher"]) == (8, "linas")


def test_an_error_of_two_options_opens_the_group_that_it_is_about(live: Listening,
                                                                  page: Any) -> None:
    page.goto("/#/new")
    page.get_by_text("Where trials run").click()
    page.locator("[data-field=workers] input").fill("4")
    page.get_by_text("Where trials run").click()
    page.get_by_role("button", name="Submit").click()
    field = page.locator("[data-field=workers]")
    expect(field.locator("input")).to_be_focused()
    expect(field.locator(".wrong")).to_have_text(
        "--workers 4 needs --executor process or ray: the serial one runs one trial at a time")
    field.locator("input").fill("")
    supernet = page.locator("[data-field=supernet]")
    supernet.locator("select").select_option(label="another …")
    supernet.locator("input").fill("os:system")
    page.get_by_role("button", name="Submit").click()
    expect(supernet.locator("input")).to_be_focused()
    expect(supernet.locator(".wrong")).to_contain_text("a job may name no code on this server")
    assert live[1].get("/api/v1/jobs").json()["jobs"] == []


def test_a_running_search_is_shown_as_it_goes_on(live: Listening, page: Any) -> None:
    server = live[0]
    job, lease, log = searching(server, count=3, budget=8)
    page.goto(f"/#/job/{job.id}")
    options = page.locator("[role=option]")
    expect(options).to_have_count(3)
    tab_to(page, "[role=option]")
    page.keyboard.press("End")
    expect(page.locator(".tip")).to_contain_text("7.00 %, 0.0900 ms")
    expect(page.locator(".network")).to_contain_text(trial(2, error=7, latency_ms=0.09)["digest"])
    expect(page.locator(".genes")).to_contain_text("width 18")
    page.keyboard.press("Escape")
    expect(page.locator(".tip")).to_be_hidden()

    log.append("trial", **trial(3, error=5.5, latency_ms=0.12))
    log.append("progress", stage="search", done=4, total=8, note="<img src=x onerror=alert(1)>")
    expect(options).to_have_count(4, timeout=LATE_MS)
    expect(options.nth(2)).to_be_focused()
    expect(page.locator(".stages")).to_contain_text("4 / 8")
    expect(page.locator(".stages")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator(".funnel")).to_contain_text("left at macs")

    finish(server, lease, log)
    expect(page.locator(".job-head .state")).to_have_text("done", timeout=LATE_MS)
    expect(page.locator("#live")).to_have_text(f"Job {job.number} is done.")
    expect(page.locator(".tiles")).to_contain_text("6.70 %")
    expect(page).to_have_title(re.compile("– done · nas$"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download bundle").click()
    assert download.value.suggested_filename.endswith(".zip")
    with page.context.expect_page() as report:
        page.get_by_role("link", name="report.html").click()
    expect(report.value).to_have_title("report")
    assert audit(page) == []


def test_a_job_is_cancelled_and_resumed(live: Listening, page: Any) -> None:
    job = live[0].job()
    page.goto(f"/#/job/{job.id}")
    page.get_by_role("button", name="Cancel").click()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator(".job-head .state")).to_have_text("queued")
    page.get_by_role("button", name="Cancel").press("Enter")
    tab_to(page, "dialog .danger")
    page.keyboard.press("Enter")
    expect(page.locator(".job-head .state")).to_have_text("cancelled")
    page.get_by_role("button", name="Resume").press("Enter")
    expect(page.locator(".job-head .state")).to_have_text("queued")


def test_what_failed_says_why(live: Listening, page: Any) -> None:
    job = live[0].job(state="failed")
    page.goto("/#/?state=failed")
    expect(page.locator("tbody tr")).to_contain_text("it broke")
    page.locator("tbody a").first.click()
    expect(page.locator(".wrong.box")).to_have_text("it broke")
    assert page.url.endswith(f"#/job/{job.id}")
    page.goto("/#/job/nothing")
    expect(page.get_by_role("alert").filter(has_text="there is no job")).to_be_visible()


def test_a_long_list_comes_in_pages(live: Listening, page: Any) -> None:
    for _ in range(120):
        live[0].job()
    page.goto("/")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Older jobs").click()
    expect(page.locator("tbody .number").first).to_have_text("70")
    page.get_by_role("link", name="Older jobs").click()
    expect(page.locator("tbody tr")).to_have_count(20)
    page.get_by_role("link", name="Newest jobs").click()
    expect(page.locator("tbody .number").first).to_have_text("120")
    page.get_by_label("Kind of job").select_option("rank")
    expect(page.get_by_text("No job is like that.")).to_be_visible()


def test_searches_are_chosen_and_compared(live: Listening, page: Any) -> None:
    for seed in range(5):
        searching(live[0], count=3, seed=seed)[2].close()
    page.goto("/")
    boxes = page.get_by_role("checkbox")
    for at in range(4):
        boxes.nth(at).press("Space")
    expect(boxes.nth(4)).to_be_disabled()
    page.get_by_role("button", name="Compare").press("Enter")
    expect(page.locator(".runs li")).to_have_count(4)
    expect(page.locator("[role=option]")).to_have_count(12)
    expect(page.locator(".facts-table .differs")).to_contain_text("seed")
    assert audit(page) == []
    page.get_by_role("link", name="Leave out job 5").click()
    expect(page.locator(".runs li")).to_have_count(3)
    page.get_by_label("Compare with").select_option(index=1)
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".runs li")).to_have_count(4)


def test_three_objectives_give_a_choice_of_axes(live: Listening, page: Any) -> None:
    job, _, log = searching(live[0], count=3, objectives=["error", "latency_ms", "params"])
    log.close()
    page.goto(f"/#/job/{job.id}")
    page.get_by_label("to the right").select_option("params")
    expect(page.locator(".chart .label").first).to_have_text("parameters")
    page.get_by_label("Up").select_option("params")
    expect(page.locator(".chart .label").first).to_have_text("error [%]")


def test_a_token_logs_in_and_a_viewer_only_looks(tmp_path: Path, browser: Any) -> None:
    complaints: list[str] = []
    with (listening(tmp_path / "data", require_token=True) as (server, client),
          opened(browser, client.base_url, complaints=complaints) as page):
        job = server.job(user="vic")
        page.goto(f"/#/job/{job.id}")
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type("nas_00000000_wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token-error")).to_contain_text("not valid")
        expect(page.get_by_label("Token")).to_be_focused()
        page.get_by_label("Token").fill(server.token("vic", "viewer"))
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("mobilenet-fmnist on host")
        expect(page.locator("#nav-new")).to_be_hidden()
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
        assert page.evaluate("document.cookie") == ""
        page.goto("/#/new")
        expect(page.get_by_text("With the role of a viewer")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_focused()
    assert complaints == []


def test_a_server_that_is_away_is_asked_again(live: Listening, page: Any) -> None:
    live[0].job()
    page.goto("/")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("The server does not answer.", timeout=LATE_MS)
    page.evaluate("location.hash = '#/new?kind=rank'")
    expect(page.locator("h1")).to_have_text("This cannot be shown now")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("h1")).to_have_text("New job")
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#live")).to_have_text("The server answers again.")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_every_view_can_be_read(theme: str, width: str, live: Listening, browser: Any,
                                tmp_path: Path) -> None:
    server, client = live
    long = "a-supernet-whose-name-is-far-longer-than-any-column-of-a-table-can-ever-hold"
    done, lease, log = searching(server, count=5, supernet=f"timm:{long}")
    finish(server, lease, log)
    other, _, log = searching(server, count=4)
    log.close()
    failed = server.job(state="failed")
    views = {"jobs": "", "done": f"job/{done.id}", "running": f"job/{other.id}",
             "failed": f"job/{failed.id}", "compare": f"compare?jobs={done.id},{other.id}",
             "missing": "nothing", "login": "login",
             **{f"new-{kind}": f"new?kind={kind}" for kind in (
                 "search", "rank", "prune", "import", "export")}}
    options = {"viewport": PHONE, "has_touch": True} if width == "phone" else {}
    complaints: list[str] = []
    with opened(browser, client.base_url, complaints=complaints, color_scheme=theme,
                **options) as page:
        for name, route in views.items():
            page.goto("about:blank")
            page.goto(f"/#/{route}")
            expect(page.locator("h1")).to_be_visible()
            page.wait_for_load_state("networkidle")
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert audit(page) == [], name
            page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
    assert complaints == []

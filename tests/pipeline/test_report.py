"""`nas report`: one page from the run folder alone, finished or not."""

import html
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cli.main import main
from hardware_profiles.store import CACHE_VARIABLE
from nas.core.errors import InputError, LedgerError
from nas.core.protocols import Quality
from nas.pipeline.config import SearchConfig, make_config, read_config
from nas.pipeline.report import write_report
from nas.pipeline.reporting.command import command_line
from nas.pipeline.reporting.facts import read_facts
from nas.pipeline.reporting.figures import hypervolume_of
from nas.pipeline.reporting.markup import Html, tag
from nas.pipeline.reporting.values import change, shown
from nas.pipeline.search import run_search
from supernets.tasks.measures import DISTANCE

SECTIONS = ["front", "history", "latency", "exits", "network", "neighbours", "use", "reproduce"]
VOID = {"meta", "br"}
HOSTILE = "<script>alert('&\"')</script>"


class Page(HTMLParser):
    """Checks nesting; collects elements, ids and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def run(tiny_folder: Path, quick_profiles: Path,
        tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search with early exits; its folder is not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(quick_profiles))
        return run_search(make_config({
            "supernet": str(tiny_folder), "budget": 14, "max_macs": 90_000,
            "out": tmp_path_factory.mktemp("runs") / "run"})).run_dir


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).path.read_text(encoding="utf-8"))


def unfinish(folder: Path, *, lines: int | None) -> None:
    """Makes a run folder one of a search that was stopped when its journal was that long."""
    shutil.rmtree(folder / "best")
    for name in ("pareto.json", "pareto.png", "report.html"):
        (folder / name).unlink()
    journal = folder / "study.journal"
    if lines is None:
        journal.unlink()
    else:
        kept = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join(kept[:lines]) + kept[lines][:40])  # and a torn line


def test_search_leaves_a_report_with_every_section(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [value for name, attribute, value in page.attributes
            if (name, attribute) == ("section", "id")] == SECTIONS
    assert page.counts["h1"] == 1
    assert page.counts["h2"] == len(SECTIONS)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in page.values("href")} <= set(ids)
    assert set(page.values("aria-labelledby")) <= set(ids)


def test_it_fetches_nothing_and_is_small(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"url\((?!#)|@import|\bfetch\(", text)
    assert not page.values("src")
    assert all(link.startswith("#") for link in page.values("href"))
    assert "default-src 'none'" in text
    assert len(text.encode()) < 200_000


def test_figures_are_those_of_the_run(run: Path) -> None:
    page = page_of(run)
    payload = json.loads((run / "pareto.json").read_text())
    best = payload["best"]
    assert shown("error", best["test"]["error"]) + " test error" in page.text
    assert shown("latency_ms", best["measured_latency_ms"]) in page.text
    assert f"{payload['space_size']:,} networks" in page.text
    for point in payload["pareto"]:
        assert f"net-{point['digest']}" in page.values("id")
        for metric in ("error", "latency_ms", "params", "macs"):
            assert shown(metric, point["metrics"][metric]) in page.text
    assert f"{payload['counts']['sampled']:,}" in page.text
    assert f"−{payload['counts']['early_exits']['macs']:,}" in page.text
    for name, version in payload["versions"].items():
        assert f"{name} {version}" in page.text


def test_every_picture_has_a_label(run: Path) -> None:
    page = page_of(run)
    pictures = page.counts["svg"]
    assert pictures >= 5
    assert sum(name == "aria-label" and element == "svg" and bool(value)
               for element, name, value in page.attributes) == pictures


def test_hypervolume_grows_to_that_of_the_front(run: Path) -> None:
    history, reference = hypervolume_of(read_facts(run))
    assert len(history) == 14
    assert history == sorted(history)
    assert 0 < history[-1] <= 1  # 1 where one network is best at everything
    assert reference.shape == (2,)


def test_report_changes_nothing_else_and_is_the_same_again(copy: Path) -> None:
    first = write_report(copy).path.read_bytes()
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert write_report(copy).path.read_bytes() == first
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_another_place(run: Path, tmp_path: Path) -> None:
    report = write_report(run, out=tmp_path / "mine.html")
    assert report.size == (tmp_path / "mine.html").stat().st_size
    with pytest.raises(InputError, match="cannot be written"):
        write_report(run, out=tmp_path / "nowhere" / "mine.html")


def test_the_python_of_the_report_runs(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    programs = [html.unescape(found) for found in re.findall(r"<code>(import .*?)</code>", text,
                                                             flags=re.DOTALL)]
    assert len(programs) == 2
    for program in programs:
        done = subprocess.run([sys.executable, "-c", program.replace(".show()", "").replace(
            "optuna.visualization.plot", "optuna.visualization.matplotlib.plot")], cwd=run,
            capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    (run / "study.journal.lock").unlink(missing_ok=True)


@pytest.mark.parametrize(("lines", "count"), [(9, 5), (None, 0)])
def test_unfinished_run_says_so(copy: Path, lines: int | None, count: int,
                                capsys: pytest.CaptureFixture[str]) -> None:
    unfinish(copy, lines=lines)
    assert main(["report", str(copy)]) == 0
    assert f"unfinished: {count} of 14 validations" in capsys.readouterr().out
    page = Page((copy / "report.html").read_text(encoding="utf-8"))
    assert f"Unfinished: {count} of 14 validations" in page.text
    assert f"nas search --resume {copy}" in page.text
    assert "test error" not in page.text
    assert not (copy / "best").exists()
    assert (copy / "study.journal").exists() == (lines is not None)


def test_json_and_a_folder_that_is_no_run(run: Path, tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--out", str(tmp_path / "r.html"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["finished"] is True
    assert found["validations"] == found["budget"] == 14
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert main(["report", str(folder)]) == 2
        error = capsys.readouterr().err
        assert "run folder" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"counts": 3}', '{"best": {}}', "null", "\0"])
def test_damaged_results_are_one_line(copy: Path, text: str) -> None:
    (copy / "pareto.json").write_text(text)
    with pytest.raises(InputError, match=r"pareto\.json is damaged"):
        write_report(copy)


def test_results_of_another_run(copy: Path) -> None:
    payload = json.loads((copy / "pareto.json").read_text())
    payload["pareto"][0]["digest"] = "0" * 12
    (copy / "pareto.json").write_text(json.dumps(payload))
    with pytest.raises(InputError, match="disagree about the front"):
        write_report(copy)


@pytest.mark.parametrize(("old", "new"), [
    ('"nas:digest":"', '"nas:digest":"f'), ('"nas:metrics":{', '"nas:metrics":3,"x":{'),
    ('"nas:trial_id":', '"nas:trial_id":"x","y":')])
def test_damaged_ledger_is_one_line(copy: Path, old: str, new: str) -> None:
    journal = copy / "study.journal"
    text = journal.read_text()
    assert old in text
    journal.write_text(text.replace(old, new))
    with pytest.raises(LedgerError, match="not of this program") as caught:
        write_report(copy)
    assert "\n" not in str(caught.value)


def test_lost_bundle_and_lost_ledger(copy: Path) -> None:
    shutil.rmtree(copy / "best")
    assert "The bundle is gone" in page_of(copy).text
    (copy / "study.journal").unlink()
    with pytest.raises(LedgerError, match="does not exist"):
        write_report(copy)


def test_without_the_supernet_the_report_says_what_it_lacks(copy: Path) -> None:
    config = copy / "config.toml"
    config.write_text(re.sub(r'supernet = ".*"', 'supernet = "lost-and-gone"',
                             config.read_text()))
    page = page_of(copy)
    assert "The supernet is not at hand" in page.text
    assert "lost-and-gone" in page.text
    assert "net-" + json.loads((copy / "pareto.json").read_text())["best"]["digest"] in page.values(
        "id")


def test_hostile_texts_stay_texts(copy: Path) -> None:
    payload = json.loads((copy / "pareto.json").read_text())
    payload["versions"][HOSTILE] = HOSTILE
    payload["counts"]["early_exits"][HOSTILE] = 1
    (copy / "pareto.json").write_text(json.dumps(payload))
    profile = json.loads((copy / "profile.json").read_text())
    profile["device"].update(name=HOSTILE, os=HOSTILE)
    profile["validity"]["warnings"] = [HOSTILE]
    (copy / "profile.json").write_text(json.dumps(profile))
    config = copy / "config.toml"
    config.write_text(re.sub(r'supernet = ".*"', lambda _: f"supernet = '''{HOSTILE}'''",
                             config.read_text()))
    page = page_of(copy)
    assert page.counts["script"] == 1
    assert page.text.count(HOSTILE) >= 5


def test_tag_escapes_text_and_attributes_but_not_markup() -> None:
    assert tag("a", "<&>", Html("<b>x</b>"), href='"><i>', class_=None, hidden=True) == (
        '<a href="&quot;&gt;&lt;i&gt;" hidden>&lt;&amp;&gt;<b>x</b></a>')
    assert tag("circle", r=1 / 3, stroke_width=2) == '<circle r="0.33" stroke-width="2"></circle>'


def test_command_line_gives_the_same_configuration(run: Path) -> None:
    config = make_config(read_config(run / "config.toml"))
    line = command_line(config)
    assert "--max-macs 90000" in line
    assert "--out" not in line
    odd = SearchConfig(supernet="./my nets", objectives=("error", "params"), seed=3,
                       storage="postgresql://me:secret@host/db")
    assert command_line(odd) == (
        "nas search --supernet './my nets' --device host --objectives error,params --budget 64 "
        "--seed 3 --storage 'postgresql://me:***@host/db'")


def test_changes_have_signs_but_zero_has_none() -> None:
    assert change("error", 12.0, 12.5) == "−0.50\xa0points"
    assert change("latency_ms", 1.1, 1.0) == "+10.0\xa0%"
    assert change("macs", 99_999, 100_000) == "0.0\xa0%"
    assert change("error", 0.5, 0.75, DISTANCE) == "−0.25"
    assert change("error", 2.0, 1.0, Quality(unit="dB")) == "+1\xa0dB"
    assert change("error", 2.0, 2.0, DISTANCE) == "0"


def test_one_objective(copy: Path) -> None:
    unfinish(copy, lines=8)
    config = copy / "config.toml"
    config.write_text(re.sub(r"objectives = \[.*?\]", 'objectives = ["params"]',
                             config.read_text(), flags=re.DOTALL))
    page = page_of(copy)
    assert "1 of them on the front" in " ".join(page.values("aria-label"))
    assert "The front has no other network" in page.text

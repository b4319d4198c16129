"""The page's files: whole, alone, and in the words of the command line."""

import json
import re
from typing import Any, cast

import click
import pytest
from page_files import PAGE, contrast, imports, palettes, scripts, text
from pydantic import TypeAdapter
from typer.main import get_command

from cli.main import app
from nas.pipeline.config import TRAINED
from nas.pipeline.metrics import METRICS
from nas.service.requests import KINDS, JobRequest

FORMS = {"search": ("search",), "rank": ("rank",), "prune": ("prune",), "export": ("export",),
         "import": ("profile", "import")}
# What belongs to the server, or is refused: where results go, and where trials and ledgers are.
NOT_ASKED = {"out", "storage", "study", "join", "ray_address"}
ROUTES = ("", "?state=done&before=950", "job/0123456789abcdef", "compare?jobs=a,b,c,d",
          "new?kind=prune", "login?next=job/1")
TEXT, SHAPE = 4.5, 3.0  # WCAG 2.2, AA: 1.4.3 and 1.4.11


def form(kind: str) -> Any:
    return json.loads(text(f"form-{kind}.json"))


def fields(kind: str) -> list[dict[str, Any]]:
    return [field for group in form(kind)["groups"] for field in group["fields"]]


def options(*verb: str) -> dict[str, Any]:
    command: Any = get_command(app)
    for name in verb:
        command = cast(click.Group, command).commands[name]
    return {parameter.name: parameter for parameter in command.params}


def properties(kind: str) -> set[str]:
    definitions = TypeAdapter(JobRequest).json_schema()["$defs"]
    return set(definitions[form(kind)["model"]]["properties"])


def test_every_file_is_there_and_used() -> None:
    html = text("index.html")
    referred = set(re.findall(r'(?:src|href)="static/([^"]+)"', html))
    found, waiting = set(referred), [name for name in referred if name.endswith(".js")]
    while waiting:
        name = waiting.pop()
        for target in imports(name):
            assert target.startswith("./"), f"{name} imports {target}"
            if (module := target.removeprefix("./")) not in found:
                found.add(module)
                waiting.append(module)
    found |= {f"form-{kind}.json" for kind in FORMS}
    assert found | {"index.html"} == {path.name for path in PAGE.iterdir()}


def test_nothing_is_fetched_from_elsewhere() -> None:
    for path in PAGE.iterdir():
        urls = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^\s\"']*", path.read_text())
        assert set(urls) <= {"http://www.w3.org/2000/svg"}, path.name
    assert "@import" not in "".join(path.read_text() for path in PAGE.glob("*.css"))


def test_the_policy_allows_what_the_page_does() -> None:
    html = text("index.html")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    for path in scripts():
        found = re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|"
                          r"new Function|DOMParser|cssText|[\"' ]style[\"']?:|"
                          r"setAttribute\(\"(?:style|on)", path.read_text())
        assert found is None, f"{path.name}: {found and found[0]}"


def test_addresses_are_relative_so_that_a_proxy_may_add_a_prefix() -> None:
    assert not re.search(r'(?:src|href)="/', text("index.html"))
    for path in scripts():
        assert not re.search(r'["\'`]/(?:api|static)', path.read_text()), path.name


def test_files_are_short() -> None:
    for path in PAGE.iterdir():
        lines = path.read_text().splitlines()
        assert len(lines) <= 200, path.name
        if path.suffix != ".json":
            assert max(map(len, lines)) <= 100, path.name


def test_there_is_a_view_for_every_route() -> None:
    patterns = re.findall(r"pattern: /(.+?)/, view", text("app.js"))
    for route in ROUTES:
        path = route.partition("?")[0]
        matching = [pattern for pattern in patterns if re.search(pattern.replace("\\/", "/"), path)]
        assert len(matching) == 1, route
    for script in scripts():
        for path in re.findall(r'\b(?:link|go)\(["`]([a-z]*)', script.read_text()):
            assert path in {route.split("?")[0].split("/")[0] for route in ROUTES}, script.name


@pytest.mark.parametrize("kind", FORMS)
def test_a_form_asks_for_every_option(kind: str) -> None:
    assert {field["name"] for field in fields(kind)} == properties(kind) - NOT_ASKED
    names = [field["name"] for field in fields(kind)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", FORMS)
def test_help_is_that_of_the_command_line(kind: str) -> None:
    known = options(*FORMS[kind])
    for field in fields(kind):
        option = field.get("option", field["name"]).replace("-", "_")
        if kind == "export" and option in ("job", "digest"):
            continue  # on the command line a folder, and a digest of it
        assert field["help"] == known[option].help, field["name"]


def test_forms_are_there_for_every_kind_of_job() -> None:
    assert set(FORMS) == set(KINDS)
    assert set(re.findall(r"(\w+): \"", text("jobs_filter.js").partition("};")[0])) == set(KINDS)


def test_what_the_page_knows_is_what_the_program_knows() -> None:
    trained = re.search(r"const TRAINED = \{(.+)\};", text("form_build.js"))
    assert trained is not None
    assert dict(re.findall(r'(\w+): "([^"]+)"', trained[1])) == TRAINED
    objectives = next(field for field in fields("search") if field["name"] == "objectives")
    assert objectives["names"] == list(METRICS)
    assert set(re.findall(r"(\w+): \"", text("format.js").partition("};")[0])) == set(METRICS)


def test_both_ways_to_the_dark_have_the_same_colours() -> None:
    light, dark, chosen = palettes()
    assert dark == chosen
    assert light.keys() == dark.keys()


@pytest.mark.parametrize("theme", [0, 1])
def test_colours_are_told_apart(theme: int) -> None:
    colours = palettes()[theme]
    on_both = ("ink", "muted", "accent", "good", "bad", "chosen")
    texts = [(name, place) for name in on_both for place in ("page", "card")]
    texts += [("on-accent", "accent"), ("warn", "warn-soft"), ("bad", "bad-soft"),
              ("ink", "soft"), ("ink", "chosen-soft"), ("muted", "chosen-soft"),
              ("muted", "soft"), ("chosen", "chosen-soft"), ("page", "ink")]
    shapes = [(name, "card") for name in ("edge", "seen", "third", "fourth")]
    shapes += [("seen", "soft"), ("accent", "soft"), ("chosen", "soft")]
    for least, pairs in ((TEXT, texts), (SHAPE, shapes)):
        for ink, place in pairs:
            found = contrast(colours[ink], colours[place])
            assert found >= least, f"{ink} on {place}: {found:.2f}"

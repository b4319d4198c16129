"""The documentation says what the project does; `.ci/run` builds it."""

import re
from pathlib import Path

import pytest

import nas

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def commands(page: Path) -> set[str]:
    return {line.split("  #")[0].strip()
            for block in re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL)
            for line in block.splitlines() if line}


def test_commands_of_the_quick_start_are_those_of_the_readme_which_are_run() -> None:
    found = commands(DOCS / "index.md")
    assert len(found) >= 8
    assert found <= commands(ROOT / "README.md")


def test_every_page_is_in_the_menu() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}


def test_every_public_name_is_described() -> None:
    page = (DOCS / "api" / "nas.md").read_text()
    described = set(re.findall(r"^::: nas\.(\w+)$", page, flags=re.MULTILINE))
    described |= set(re.findall(r"\[`nas\.(\w+)`\]\[", page))
    assert described == set(nas.__all__)


def test_every_result_of_a_benchmark_is_named() -> None:
    page = (DOCS / "benchmarks.md").read_text()
    for result in (DOCS / "benchmarks").glob("*.json"):
        assert f"(benchmarks/{result.name})" in page


@pytest.mark.parametrize("script", ["bench_profile.py", "bench_costs.py", "bench_elastic.py"])
def test_scripts_that_the_docs_name_exist(script: str) -> None:
    assert script in (DOCS / "benchmarks.md").read_text()
    assert (ROOT / "tests" / "benchmarks" / script).is_file()

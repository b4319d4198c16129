import pytest

from nas.core.errors import UnknownNameError
from nas.core.registry import Entry, Registry
from predictors.registry import PROXIES


def test_every_proxy_is_a_class_without_arguments() -> None:
    for entry in PROXIES.entries:
        proxy = entry.resolve()()
        assert callable(proxy), entry.name
        assert hasattr(proxy, "scores") == entry.info["saliency"], entry.name


def test_every_entry_has_the_facts_of_the_listing() -> None:
    for entry in PROXIES.builtin:
        assert {"cost", "needs", "published_spearman", "source"} <= set(entry.info), entry.name
        published = entry.info["published_spearman"]
        assert published is None or 0 < published < 1


def test_unknown_proxy_points_to_the_listing() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown proxy 'gradsing'; did you mean gradsign.*"
                                               r"\(`nas list proxies` shows all\)"):
        PROXIES.get("gradsing")


def test_entry_point_groups_are_plural() -> None:
    assert PROXIES.group == "nas.proxies"
    assert Registry("searcher", (Entry("a", "b:c"),)).group == "nas.searchers"

"""Searches in one box: what their hypervolumes are there, and who may see them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_browsing import searching
from service_http import Server, serving

from nas.service.progress import compared


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "data") as server:
        yield server


def asked(server: Server, *ids: str) -> Any:
    return server.client.get("/api/v1/compare", params={"jobs": ",".join(ids)})


def view(job: str, *points: tuple[float, float], names: tuple[str, ...] = ("error", "latency_ms")
         ) -> dict[str, Any]:
    return {"job": job, "objectives": [{"name": name, "unit": "1"} for name in names],
            "exits": {}, "trials": [{"final": True, "metrics": {"error": error, "latency_ms": ms,
                                                                "params": 1.0}}
                                    for error, ms in points]}


def test_the_box_is_that_of_all() -> None:
    found = compared([view("a", (4.0, 4.0), (2.0, 2.0)), view("b", (3.0, 1.0), (0.0, 5.0))])
    assert found["reference"] == [4.0, 5.0]
    # The box is 4 × 4; b ends on the edge of it.
    assert found["runs"] == {"a": [[1, 0.0], [2, pytest.approx(6 / 16)]],
                             "b": [[1, pytest.approx(4 / 16)], [2, pytest.approx(4 / 16)]]}


def test_only_what_all_trade_counts() -> None:
    found = compared([view("a", (4.0, 4.0), names=("error", "latency_ms", "params")),
                      view("b", (3.0, 1.0))])
    assert [one["name"] for one in found["objectives"]] == ["error", "latency_ms"]
    none = compared([view("a", (4.0, 4.0), names=("params",)), view("b", (3.0, 1.0))])
    assert none == {"objectives": [], "reference": None, "runs": {"a": [], "b": []}}


def test_too_few_networks_span_no_box() -> None:
    assert compared([view("a"), view("b", (1.0, 1.0))])["reference"] is None
    of_searchers = {**view("c", (1.0, 1.0)), "exits": None}
    assert compared([of_searchers]) == {"objectives": [], "reference": None, "runs": {}}


def test_it_grows_with_the_searches(server: Server) -> None:
    (one, _, log), (other, _, end) = (searching(server, count=count, budget=8)
                                      for count in (3, 2))
    end.close()
    first = asked(server, one.id, other.id).raise_for_status().json()
    assert first["runs"].keys() == {one.id, other.id}
    log.append("trial", id=3, digest="f" * 12, arch={}, final=True, error=None,
               metrics={"error": 1.0, "latency_ms": 0.01}, counts={})
    log.close()
    later = asked(server, one.id, other.id).json()
    assert later["runs"][one.id][-1] == [4, 1.0]


def test_what_cannot_be_compared_is_refused(server: Server) -> None:
    assert asked(server, "nothing").json()["error"]["code"] == "no_such_job"
    for ids in ((), ("a", "b", "c", "d", "e"), ("../a",), ("a", "")):
        assert asked(server, *ids).status_code == 422

import json
import subprocess
import sys
from typing import Any

import pytest

from nas.service.event_log import Event
from nas.service.progress import view
from nas.service.requests import config_values, read_request
from nas.service.store.job import Job

TORCH_FREE = ("requests", "policy", "event_log", "progress", "supervisor", "aside", "settings",
              "http.app", "client")


def job(kind: str = "search", state: str = "running", **config: Any) -> Job:
    return Job(id="0" * 16, number=1, user="me", kind=kind, state=state,
               config=config_values(read_request(kind, config)), created=0.0, started=None,
               ended=None, ran_s=0.0, deaths=0, done=0, total=0, note="", error=None,
               stop_request=None, slot=None)


def trial(number: int, error: float, latency_ms: float, **more: Any) -> dict[str, Any]:
    return {"type": "trial", "id": number, "digest": f"net{number}", "arch": {"depth": number},
            "metrics": {"error": error, "latency_ms": latency_ms}, "final": True, "error": None,
            "counts": {"sampled": 10 * number, "early_exits": {"latency_ms": number},
                       "evaluated": number, "partial": 0, "partial_cost": 0, "failed": 0}, **more}


def numbered(*events: dict[str, Any]) -> list[Event]:
    return [{"seq": number, "t": 0.0, **event} for number, event in enumerate(events, start=1)]


def test_a_job_that_waits_has_an_empty_view() -> None:
    found = view(job(state="queued"), [])
    assert found == {
        "job": "0" * 16, "seq": 0, "state": "queued", "stages": [],
        "objectives": [{"name": "error", "unit": "%"}, {"name": "latency_ms", "unit": "ms"}],
        "trials": [], "front": [], "archs": {}, "hypervolume": {"reference": None, "values": []},
        "exits": {"sampled": 0, "early_exits": {}, "evaluated": 0, "failed": 0}}


def test_fronts_volumes_and_exits_are_those_of_the_trials() -> None:
    found = view(job(), numbered(
        {"type": "state", "state": "running", "error": None},
        trial(0, 9.0, 1.0), trial(2, 5.0, 3.0), trial(1, 9.5, 2.0), trial(3, 7.0, 2.0)))
    assert found["seq"] == 5
    assert [one["id"] for one in found["trials"]] == [0, 1, 2, 3]
    assert [one["on_front"] for one in found["trials"]] == [True, False, True, True]
    assert found["front"] == ["net2", "net3", "net0"]  # best first objective first
    assert found["archs"] == {"net2": {"depth": 2}, "net3": {"depth": 3}, "net0": {"depth": 0}}
    assert found["hypervolume"]["reference"] == [9.5, 3.0]
    # The box is 4.5 × 2; a step where the volume changes, and the end.
    assert [number for number, _ in found["hypervolume"]["values"]] == [1, 4]
    assert found["hypervolume"]["values"][0][1] == pytest.approx(1 / 9)
    assert found["hypervolume"]["values"][1][1] == pytest.approx(3 / 9)
    assert found["exits"]["sampled"] == 30
    json.dumps(found, allow_nan=False)


def test_trials_that_come_again_count_once_and_partial_and_failed_ones_are_on_no_front() -> None:
    found = view(job(), numbered(
        trial(0, 9.0, 1.0), trial(1, 1.0, 0.5, final=False),
        {**trial(2, 0.0, 0.0, final=False, metrics={}), "error": "no"}, trial(0, 9.0, 1.0),
        trial(3, 8.0, 1.5)))
    assert [one["id"] for one in found["trials"]] == [0, 1, 2, 3]
    assert found["front"] == ["net3", "net0"]
    assert found["trials"][2]["error"] == "no"


def test_one_network_spans_no_volume() -> None:
    assert view(job(), numbered(trial(0, 9.0, 1.0)))["hypervolume"]["values"] == []


def test_stages_are_the_last_of_each_in_the_order_of_their_beginning() -> None:
    progress = {"type": "progress", "note": ""}
    found = view(job("rank"), numbered(
        {**progress, "stage": "profile", "done": 1, "total": 9},
        {**progress, "stage": "rank", "done": 0, "total": 4},
        {**progress, "stage": "profile", "done": 9, "total": 9, "note": "quiet"}))
    assert found["stages"] == [{"stage": "profile", "done": 9, "total": 9, "note": "quiet"},
                               {"stage": "rank", "done": 0, "total": 4, "note": ""}]
    assert found["exits"] is None
    assert found["objectives"] == []


def test_the_searches_of_a_comparison_are_told_apart() -> None:
    found = view(job(compare=["nsga2", "random"]), numbered(
        trial(0, 9.0, 1.0, run="nsga2, seed 0"), trial(0, 8.0, 2.0, run="random, seed 0")))
    assert len(found["trials"]) == 2
    assert found["hypervolume"]["values"] == []


def test_a_distance_has_no_unit() -> None:
    found = view(job(supernet="var-fmnist", quality="fid", objectives=["error", "macs"]), [])
    assert found["objectives"][0] == {"name": "error", "unit": ""}


def test_the_server_imports_nothing_heavy() -> None:
    program = (f"import sys, {', '.join(f'nas.service.{name}' for name in TORCH_FREE)}; "
               "print([name for name in ('torch', 'timm', 'optuna', 'onnxruntime', 'ray')"
               " if name in sys.modules])")
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert found.stdout.strip() == b"[]"

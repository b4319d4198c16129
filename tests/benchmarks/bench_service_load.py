"""The service under load on loopback while it runs a search, and a queue of 1,000 jobs.

The same search runs in turn without and with load: 50 event streams and 200 requests/s, half of
them lists of jobs and half single jobs. How much the load slows the search down is the ratio of the
times that the same validations took. Then 1,000 jobs are submitted and listed page by page.

    python tests/benchmarks/bench_service_load.py [--only-print]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from _report import write_report
from _service import Service

SEED = 0
PAIRS = 1
SECONDS, RATE, STREAMS = 60.0, 200.0, 50
BUDGET = 50
QUEUED, PAGE = 1000, 100


def main() -> None:
    """Loads, measures, prints and writes the report."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        service = Service(root / "data", root / "cache", options=("--max-queue", "2000"))
        service.start()
        service.wait(service.submit("search", {"budget": 2}))  # measures the profile
        before = [service.submit("search", {"budget": 1, "seed": seed}) for seed in range(5)]
        for job in before:
            service.wait(job)
        alone, loaded, loads = [], [], []
        for _ in range(PAIRS):
            alone.append(validations_s(service, None, before, loads))
            loaded.append(validations_s(service, (SECONDS, RATE, STREAMS), before, loads))
            print(json.dumps(loads[-1]), flush=True)
        slowed = [float(np.sum(b) / np.sum(a)) for a, b in zip(alone, loaded, strict=True)]
        queue = queued(service)
        print(json.dumps({"slowed": slowed, "queue": queue}), flush=True)
        service.stop()
    figures = {"loads": loads, "search_slowed": [round(ratio, 3) for ratio in slowed],
               "validations_compared": len(alone[0]), "queue": queue}
    if "--only-print" not in sys.argv:
        print(write_report("service_load", figures, seed=SEED))


def validations_s(service: Service, load: tuple[float, float, int] | None, others: list[str],
                  loads: list[dict[str, Any]]) -> list[float]:
    """Runs the search, under a load or not, and returns how long each validation took."""
    job = service.submit("search", {"budget": BUDGET, "seed": SEED})
    end = time.monotonic() + 120
    while service.job(job)["done"] < 4:  # the load begins when the search is under way
        if time.monotonic() > end:
            raise RuntimeError("the search does not begin")
        time.sleep(0.2)
    if load is not None:
        seconds, rate, streams = load
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("_load.py")), str(service.port),
             str(seconds), str(rate), str(streams), ",".join([job, *others])],
            check=True, capture_output=True, text=True)
        loads.append({**json.loads(done.stdout), "search_at_the_end": service.job(job)["done"]})
    service.wait(job)
    events = [json.loads(line) for line in
              (service.data / "jobs" / job / "events.jsonl").read_text().splitlines()]
    times = [event["t"] for event in events if event["type"] == "trial"]
    # Of those that ran wholly under the load.
    return np.diff(times)[6:36].tolist()


def queued(service: Service) -> dict[str, Any]:
    """Submits many jobs while one runs, lists them in pages and cancels them."""
    running = service.submit("search", {"budget": 2000, "seed": 9})
    service.wait(running, states=("running",))
    with httpx2.Client(base_url=f"{service.url}/api/v1", timeout=60) as client:
        start, ids = time.perf_counter(), set()
        for seed in range(QUEUED):
            answer = client.post("/jobs", json={"kind": "search",
                                                "config": {"budget": 1, "seed": seed}})
            answer.raise_for_status()
            ids.add(answer.json()["id"])
        submitted_s = time.perf_counter() - start
        listed, pages, page_ms, before = set(), 0, [], None
        while True:
            start = time.perf_counter()
            answer = client.get("/jobs", params={"state": "queued", "limit": PAGE,
                                                 **({"before": before} if before else {})})
            page_ms.append((time.perf_counter() - start) * 1e3)
            answer.raise_for_status()
            found = answer.json()
            pages += 1
            listed |= {job["id"] for job in found["jobs"]}
            if (before := found["next"]) is None:
                break
        for job in (*sorted(ids), running):  # while that runs, none of the others begins
            client.post(f"/jobs/{job}/cancel").raise_for_status()
    return {"accepted": len(ids), "submitted_per_second": round(QUEUED / submitted_s, 1),
            "listed": len(listed & ids), "pages": pages,
            "page_ms_median": round(float(np.median(page_ms)), 1),
            "page_ms_max": round(max(page_ms), 1)}


if __name__ == "__main__":
    main()

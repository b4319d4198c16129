import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from service_workers import Place, descendants, gone, is_running, place, until

from hardware_profiles.store import CACHE_VARIABLE
from nas.core.errors import NasError
from nas.core.locks import exclusive
from nas.pipeline.config import make_config
from nas.pipeline.export import export_subnet
from nas.pipeline.profile_remote import import_profile
from nas.pipeline.reporting.facts import read_facts
from nas.pipeline.reporting.figures import hypervolume_of
from nas.pipeline.run_dir import RunDir
from nas.pipeline.search import run_search
from nas.search.ledger import Ledger, ledger_equal, read_ledger
from nas.service.handover import bury, has_ended, start
from nas.service.progress import view
from nas.service.supervisor import Supervisor
from supernets.folder import load_folder

BUDGET = 40
SEARCH = {"supernet": "data/tiny", "budget": BUDGET, "searcher": "random"}


@pytest.fixture(scope="module")
def here(tiny_folder: Path, quick_profiles: Path,
         tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(quick_profiles))
        with place(tmp_path_factory.mktemp("service"), tiny_folder) as found:
            yield found


@pytest.fixture
def another(here: Place, tiny_folder: Path, tmp_path: Path) -> Iterator[Place]:
    """A queue that only the test's own workers look at."""
    del here
    with place(tmp_path / "service", tiny_folder) as found:
        yield found


@pytest.fixture(scope="module")
def workers(here: Place) -> Iterator[Supervisor]:
    """One worker, for tests that do not end it for good."""
    with here.supervised() as found:
        yield found


@pytest.fixture(scope="module")
def expected(here: Place, tiny_folder: Path) -> Path:
    """The run folder of the same search, undisturbed and in this process."""
    out = here.folder.root.parent / "expected"
    run_search(make_config({**SEARCH, "supernet": str(tiny_folder), "out": out}))
    return out


@pytest.fixture(scope="module")
def finished(here: Place, workers: Supervisor) -> str:
    """Id of a search that is done."""
    del workers
    job = here.submit(**SEARCH)
    here.wait(job)
    return job


def ledger(run_dir: Path, supernet: Path) -> Ledger:
    run, config, _ = RunDir.open(run_dir)
    storage, name = run.ledger(config)
    return read_ledger(storage, space=load_folder(supernet).space, study_name=name,
                       objectives=config.objective_values())


def check_as_undisturbed(here: Place, job_id: str, expected: Path) -> None:
    job, run, tiny = here.job(job_id), here.folder.run(job_id), here.folder.data / "tiny"
    assert (job.state, job.error) == ("done", None)
    assert ledger_equal(ledger(run, tiny), ledger(expected, tiny))
    payload = json.loads(here.folder.result(job_id).read_text())
    wanted = json.loads((expected / "pareto.json").read_text())
    for name in ("pareto", "counts", "device", "stopped"):
        assert payload[name] == wanted[name]
    assert payload["best"]["test"] == wanted["best"]["test"]
    assert payload["run_dir"] == f"jobs/{job_id}/run"
    seen = [event["seq"] for kind in ("state", "progress", "trial")
            for event in here.events(job_id, kind)]
    assert sorted(seen) == [*range(1, len(seen) + 1)]
    assert len(here.events(job_id, "trial")) == BUDGET
    assert not here.folder.running_lock(job_id).exists()


def states(here: Place, job: str) -> list[str]:
    return [event["state"] for event in here.events(job, "state")]


def test_a_job_gives_what_the_same_search_gives_here(here: Place, finished: str,
                                                     expected: Path) -> None:
    check_as_undisturbed(here, finished, expected)
    assert states(here, finished) == ["running", "done"]
    shown = view(here.job(finished), [
        *here.events(finished, "trial"), *here.events(finished, "state")])
    payload = json.loads(here.folder.result(finished).read_text())
    assert shown["front"] == [point["digest"] for point in payload["pareto"]]
    assert shown["exits"] == payload["counts"]
    history, reference = hypervolume_of(read_facts(expected))
    assert shown["hypervolume"]["values"][-1] == [BUDGET, history[-1]]
    assert shown["hypervolume"]["reference"] == reference.tolist()


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_job_goes_on(here: Place, workers: Supervisor,
                                                         expected: Path) -> None:
    job = here.submit(**SEARCH, executor="process", workers=1)
    here.wait_for_trials(job, 5)
    worker = workers.status()[0].pid
    assert worker is not None
    children = descendants(worker)
    assert children
    os.kill(worker, signal.SIGKILL)
    gone({worker, *children})
    assert here.job(job).state in ("queued", "running")
    here.wait(job)
    check_as_undisturbed(here, job, expected)
    assert states(here, job) == ["running", "running", "done"]
    assert workers.status()[0].pid != worker


def test_a_cancelled_job_stops_soon_and_can_be_resumed(here: Place, workers: Supervisor,
                                                       expected: Path) -> None:
    job = here.submit(**SEARCH)
    here.wait_for_trials(job, 3)
    worker = workers.status()[0].pid
    here.store.cancel(job)
    here.wait(job, "cancelled")
    assert not here.folder.result(job).exists()
    here.store.resume(job)
    here.wait(job)
    check_as_undisturbed(here, job, expected)
    assert workers.status()[0].pid == worker  # the same process, which torch is loaded in


@pytest.mark.usefixtures("workers")
def test_a_job_goes_on_while_the_database_is_away(here: Place, expected: Path) -> None:
    job = here.submit(**SEARCH)
    here.wait_for_trials(job, 1)
    with closing(sqlite3.connect(here.folder.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")  # nobody else can write
        here.wait_for_trials(job, BUDGET)
        until(here.folder.result(job).exists, lambda: "the job does not go on")
        time.sleep(3.0)  # it tries to say that it is done
        assert here.job(job).state == "running"
    here.wait(job)
    check_as_undisturbed(here, job, expected)


@pytest.mark.parametrize(("kind", "config", "code"), [
    ("rank", {"proxies": ["nasvot"], "supernet": "data/tiny"}, "unknown_name"),
    ("search", {**SEARCH, "max_macs": 10}, "constraint"),
    ("search", {**SEARCH, "data": "data/tiny"}, "input"),
    ("prune", {"model": "timm:no_such_net", "data": "data/tiny", "macs": "50%"}, "input")])
@pytest.mark.usefixtures("workers")
def test_errors_are_the_command_lines(here: Place, kind: str, config: dict[str, Any],
                                      code: str) -> None:
    job = here.wait(here.submit(kind, **config))
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == code
    assert len(job.error["message"].splitlines()) == 1
    assert states(here, job.id)[-1] == "failed"
    assert str(here.folder.root) not in job.error["message"]


@pytest.mark.slow
def test_an_export_has_its_own_bundle_and_the_command_lines_errors(
        here: Place, finished: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.folder.root)
    run = Path("jobs", finished, "run")
    front = json.loads(here.folder.result(finished).read_text())["pareto"]
    digest = front[-1]["digest"]
    job = here.wait(here.submit("export", job=finished, digest=digest, features=True))
    assert job.error is None
    payload = json.loads(here.folder.result(job.id).read_text())
    assert payload["bundle"] == f"jobs/{job.id}/run"
    assert (here.folder.run(job.id) / "manifest.json").is_file()
    assert payload["features"]
    assert not (run / digest).exists()

    for config in ({"digest": "0" * 12}, {}):
        failed = here.wait(here.submit("export", job=finished, **config))
        with pytest.raises(NasError) as error:
            export_subnet(run, digest=config.get("digest"), out=Path("none") if config else None)
        assert failed.error == {"code": "input", "message": str(error.value)}


@pytest.mark.usefixtures("workers")
def test_an_import_has_the_command_lines_errors(here: Place,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.folder.root)
    upload = Path("uploads", "b" * 32)
    upload.write_text("{}")
    job = here.wait(here.submit("import", result="b" * 32))
    with pytest.raises(NasError) as error:
        import_profile(upload)
    assert job.error is not None
    assert job.error["message"] == str(error.value)


@pytest.mark.usefixtures("workers")
def test_a_ranking_and_a_comparison_are_done(here: Place) -> None:
    ranking = here.submit("rank", supernet="data/tiny", proxies=["params"], n=4, batch=4)
    comparison = here.submit(supernet="data/tiny", compare=["random", "nsga2"], seeds=1, budget=4)
    assert here.wait(ranking).error is None
    assert json.loads(here.folder.result(ranking).read_text())["networks"] == 4
    assert here.wait(comparison).error is None
    found = view(here.job(comparison), here.events(comparison, "trial"))
    assert {trial["run"] for trial in found["trials"]} == {"random, seed 0", "nsga2, seed 0"}
    assert len(found["trials"]) == 8


@pytest.mark.slow
def test_a_server_that_stops_gives_its_jobs_back_and_one_that_vanishes_leaves_no_process(
        another: Place, expected: Path) -> None:
    job = another.submit(**SEARCH, executor="process", workers=1)
    process = start("nas.service.worker", another.settings, "7")
    try:
        another.wait_for_trials(job, 3)
        children = descendants(process.pid)
        process.terminate()
        until(lambda: has_ended(process), lambda: "the worker does not end")
        assert another.wait(job, "queued").slot is None
        gone(children)
        assert bury(process) == 0
        assert states(another, job) == ["running", "queued"]

        process = start("nas.service.worker", another.settings, "7")
        until(lambda: descendants(process.pid) and len(states(another, job)) == 3,
              lambda: f"job is {another.job(job)}")
        children = descendants(process.pid)
        assert process.stdin is not None
        process.stdin.close()  # as the kernel does when the server is killed
        until(lambda: has_ended(process), lambda: "the worker does not end")
        gone(children)
        assert another.job(job).state == "running"
    finally:
        bury(process)

    with exclusive(another.folder.running_lock(job), wait=False):  # as if it were still at work
        process = start("nas.service.worker", another.settings, "7")
        another.wait(job, "running")
        time.sleep(1.0)
        assert len(states(another, job)) == 3
    try:
        another.wait(job)
        check_as_undisturbed(another, job, expected)
    finally:
        bury(process)


@pytest.mark.slow
def test_a_job_runs_no_longer_than_it_may(another: Place) -> None:
    job = another.submit(**{**SEARCH, "budget": 5000})
    with another.supervised(max_job_seconds=12.0) as workers:
        ended = another.wait(job)
        assert ended.state == "failed"
        assert ended.error is not None
        assert ended.error["code"] == "time_limit"
        assert 12.0 < ended.ran_s < 25.0
        assert len(another.events(job, "trial")) > 0
        pid = workers.status()[0].pid
        assert pid is not None
        assert is_running(pid)


@pytest.mark.slow
def test_a_job_whose_process_always_dies_fails_in_the_end(another: Place) -> None:
    job = another.submit(**SEARCH)
    with another.supervised() as workers:
        for _ in range(3):
            another.wait(job, "running")
            worker = workers.status()[0].pid
            assert worker is not None
            os.kill(worker, signal.SIGKILL)
            gone({worker})
            until(lambda: another.job(job).state != "running", lambda: "nobody notices")
    ended = another.job(job)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error["code"] == "worker_died"

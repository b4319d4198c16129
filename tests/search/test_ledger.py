import logging
import re
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from postgres import Server
from sqlalchemy.exc import OperationalError

from nas.core.errors import LedgerError
from nas.core.problem import Objective, Problem
from nas.core.space import GeneSpace
from nas.core.trial import Outcome, Trial
from nas.search.entries import Stopped
from nas.search.ledger import Ledger, ledger_equal, open_ledger, read_ledger
from nas.search.record import read_record

MakeLedger = Callable[..., Ledger]


@pytest.fixture
def problem(make_problem: Callable[..., Problem]) -> Problem:
    return make_problem()


@pytest.fixture
def outcomes(space: GeneSpace) -> list[Outcome]:
    archs = space.decode(space.sample_codes(5, np.random.default_rng(0)))
    found = [Outcome(Trial(i, arch), {"error": 0.1 * i + 1 / 3, "speed": 2.0, "params": 10 + i})
             for i, arch in enumerate(archs)]
    found[3] = Outcome(Trial(3, archs[3]), error="RuntimeError: out of memory", stage="inherited")
    return found


def test_what_is_recorded_is_read_back_exactly_and_in_order(
        problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger,
        tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    ledger = make_ledger(problem, path)
    for outcome in reversed(outcomes):
        ledger.record(outcome, batch={"first": 0, "counts": {"sampled": 9}}
                      if outcome.trial.id == 4 else None)
    again = read_ledger(path, space=problem.space, objectives=problem.objectives)
    assert again.outcomes() == ledger.outcomes() == outcomes
    assert again.batches() == {4: {"first": 0, "counts": {"sampled": 9}}}
    assert isinstance(again.outcomes()[0].metrics["params"], int)


def test_ledger_is_a_plain_optuna_study(problem: Problem, outcomes: list[Outcome],
                                        make_ledger: MakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    ledger = make_ledger(problem, path)
    for outcome in outcomes:
        ledger.record(outcome)
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.load_study(storage=storage, study_name="nas")
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == ["error", "speed"]
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL if not o.ok else TrialState.COMPLETE for o in outcomes]
    for trial, outcome in zip(study.trials, outcomes, strict=True):
        arch = outcome.trial.arch
        live = problem.space.active(problem.space.encode([arch]))[0]
        assert trial.params == {name: value for (name, value), used in
                                zip(arch.choices, live, strict=True) if used}
    assert study.trials[3].user_attrs["nas:error"] == "RuntimeError: out of memory"
    assert 3 not in {trial.number for trial in study.best_trials}


def test_equal_means_id_digest_values_stage_and_error(
        problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger) -> None:
    def filled(changes: Mapping[int, Outcome]) -> Ledger:
        ledger = make_ledger(problem)
        for outcome in outcomes:
            ledger.record(changes.get(outcome.trial.id, outcome))
        return ledger

    first = outcomes[0]
    base = filled({})
    # A metric that is no objective may be a new measurement.
    assert ledger_equal(base, filled({0: Outcome(first.trial, {**first.metrics, "params": 7})}))
    assert not ledger_equal(base, filled({0: Outcome(first.trial, {**first.metrics, "error": 7})}))
    assert not ledger_equal(base, filled({0: Outcome(first.trial, first.metrics, stage="x")}))
    assert not ledger_equal(base, filled({0: Outcome(first.trial, error="x")}))
    assert not ledger_equal(base, filled({0: Outcome(Trial(0, outcomes[1].trial.arch),
                                                     first.metrics)}))
    assert not ledger_equal(base, make_ledger(problem))


def test_another_search_is_refused_with_what_differs(
        problem: Problem, make_ledger: MakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    make_ledger(problem, path, searcher="random", budget=64)
    make_ledger(problem, path, searcher="random", budget=64)
    with pytest.raises(LedgerError, match="budget is 64 there and 32 here; searcher is 'random' "
                                          "there and None here"):
        make_ledger(problem, path, budget=32)
    for other in (Objective("error", "%"), Objective("latency_ms", "ms")):
        with pytest.raises(LedgerError, match="of another search: objectives is"):
            read_ledger(path, space=problem.space, objectives=[other])
    elsewhere = GeneSpace("other/1", problem.space.genes)
    with pytest.raises(LedgerError, match="space is 'toy/1' there and 'other/1' here"):
        read_ledger(path, space=elsewhere, objectives=problem.objectives)


def test_study_of_another_program_is_refused(problem: Problem, make_ledger: MakeLedger,
                                             tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))),
                                study_name="nas", directions=["minimize", "maximize"])
    study.add_trial(optuna.create_trial(values=[1.0, 2.0]))
    with pytest.raises(LedgerError, match="not of this program"):
        make_ledger(problem, path)


def test_full_disk_is_one_line_and_loses_nothing(
        problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger,
        tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    ledger = make_ledger(problem, path)
    ledger.record(outcomes[0])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, limits[1]))
        with pytest.raises(LedgerError, match=r"cannot be written .*; remedy that and resume"):
            ledger.record(outcomes[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert make_ledger(problem, path).outcomes() == outcomes[:1]


def test_trial_there_twice_is_an_error(problem: Problem, outcomes: list[Outcome],
                                       make_ledger: MakeLedger) -> None:
    ledger = make_ledger(problem)
    ledger.record(outcomes[0])
    ledger.record(outcomes[0])
    with pytest.raises(LedgerError, match="has trial 0 twice"):
        ledger.outcomes()


@pytest.mark.parametrize("lost", [1, 2, 40, 300])
def test_torn_last_line_is_cut_off_and_the_rest_goes_on(
        problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger, tmp_path: Path,
        lost: int) -> None:
    path = tmp_path / "study.journal"
    ledger = make_ledger(problem, path)
    for outcome in outcomes[:3]:
        ledger.record(outcome)
    path.write_bytes(path.read_bytes()[:-lost])
    # Reading alone changes nothing.
    read = read_ledger(path, space=problem.space, objectives=problem.objectives)
    assert read.outcomes() == outcomes[:2]
    mended = make_ledger(problem, path)
    for outcome in outcomes[2:]:
        mended.record(outcome)
    assert make_ledger(problem, path).outcomes() == outcomes


def test_lock_file_of_a_dead_process_holds_nobody_up(
        problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger,
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "study.journal"
    Path(f"{path}.lock").symlink_to(path)
    ledger = make_ledger(problem, path)
    ledger.record(outcomes[0])
    assert ledger.outcomes() == outcomes[:1]
    assert not caplog.records


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n 1234", b"no newline", b"{}\n[]\n",
                                     b'{"op_code":0,"worker_id":"x"}\n'])
def test_file_that_is_no_journal_is_refused_and_left_alone(
        problem: Problem, make_ledger: MakeLedger, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=re.escape(str(path))) as caught:
        make_ledger(problem, path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_an_error(problem: Problem, outcomes: list[Outcome],
                                          make_ledger: MakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    ledger = make_ledger(problem, path)
    for outcome in outcomes:
        ledger.record(outcome)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[4][:30] + b"\n", *lines[5:]]))
    with pytest.raises(LedgerError, match="damaged"):
        make_ledger(problem, path)


def test_damage_in_the_last_line_is_an_error(problem: Problem, outcomes: list[Outcome],
                                             make_ledger: MakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    ledger = make_ledger(problem, path)
    for outcome in outcomes:
        ledger.record(outcome)
    damaged = path.read_bytes()[:-2] + b"\x01\n"
    path.write_bytes(damaged)
    with pytest.raises(LedgerError, match=r"damaged .*last line"):
        make_ledger(problem, path)
    assert path.read_bytes() == damaged


def test_missing_ledger_is_an_error(problem: Problem, tmp_path: Path) -> None:
    for path in (tmp_path / "none.journal", tmp_path):
        with pytest.raises(LedgerError, match="does not exist"):
            read_ledger(path, space=problem.space, objectives=problem.objectives)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LedgerError, match="cannot be written"):
        open_ledger(tmp_path / "no" / "folder.journal", space=problem.space,
                    objectives=problem.objectives, identity={})


def test_nothing_is_said_on_stderr(problem: Problem, outcomes: list[Outcome],
                                   make_ledger: MakeLedger,
                                   capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    make_ledger(problem).record(outcomes[0])
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before == logging.INFO


def test_storage_url(problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger,
                     tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    ledger = make_ledger(problem, url)
    for outcome in outcomes[2:4]:
        ledger.record(outcome)
    assert make_ledger(problem, url).outcomes() == outcomes[2:4]


def test_unusable_storage_is_one_line_without_the_password(problem: Problem,
                                                           make_ledger: MakeLedger) -> None:
    with pytest.raises(LedgerError) as caught:
        make_ledger(problem, "nosuchdatabase://user:secret@host/db")
    assert "nosuchdatabase://user:***@host/db" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if request.param == "journal":
        return tmp_path / "study.journal"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    server: Server = request.getfixturevalue("postgres")
    return server.create(f"ledger_{time.monotonic_ns()}")


def test_every_storage_gives_back_all_of_every_outcome(
        problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger,
        storage: Path | str) -> None:
    outcomes[1] = replace(outcomes[1], stage="partial", cost=0.2)
    outcomes[3] = replace(outcomes[3], cost=0.1)
    record = {"first": 0, "counts": {"sampled": 9}}
    ledger = make_ledger(problem, storage)
    for outcome in reversed(outcomes):
        ledger.record(outcome, batch=record if outcome.trial.id == 4 else None)
    ledger.stop("enough", after=5)
    again = make_ledger(problem, storage)
    assert again.outcomes() == ledger.outcomes() == outcomes
    assert again.batches() == {4: record}
    assert again.stopped == Stopped("enough", 5)
    trials = again.study.get_trials()
    assert [trial.number for trial in trials] == list(range(5))
    assert [trial.state for trial in reversed(trials)] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL,
        TrialState.COMPLETE]
    assert {"nas:cost" in trial.user_attrs for trial in trials} == {True, False}
    assert 3 not in {trial.number for trial in again.study.best_trials}  # the partial one
    found = read_record(storage)
    assert found is not None
    assert [trial.outcome for trial in found.trials] == outcomes
    assert (found.counts, found.stopped) == ({"sampled": 9}, Stopped("enough", 5))
    assert all(trial.completed is not None for trial in found.trials)


def test_what_a_database_is_given_is_what_optuna_would_write(
        problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger,
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledgers = [make_ledger(problem, f"sqlite:///{tmp_path / name}") for name in ("a.db", "b.db")]
    for outcome in outcomes:
        ledgers[0].record(outcome)
    monkeypatch.setattr("nas.search.database.tables_known", lambda: False)
    for outcome in outcomes:
        ledgers[1].record(outcome)
    fresh = [make_ledger(problem, ledger.where) for ledger in ledgers]
    theirs = [ledger.study.get_trials() for ledger in fresh]
    monkeypatch.undo()
    ours = [make_ledger(problem, ledger.where).study.get_trials() for ledger in ledgers]
    assert ours == theirs  # read by either
    for mine, other in zip(*ours, strict=True):  # written by either
        for name in ("number", "state", "values", "params", "distributions"):
            assert getattr(mine, name) == getattr(other, name)
        assert {**mine.user_attrs, "nas:write": 0} == {**other.user_attrs, "nas:write": 0}
        assert mine.datetime_start is not None
        assert other.datetime_start is not None
        assert abs(mine.datetime_start - other.datetime_start) < timedelta(minutes=5)


def test_equal_means_cost_too(problem: Problem, outcomes: list[Outcome],
                              make_ledger: MakeLedger) -> None:
    ledgers = [make_ledger(problem), make_ledger(problem)]
    for ledger, cost in zip(ledgers, (1.0, 0.5), strict=True):
        ledger.record(replace(outcomes[0], cost=cost))
    assert not ledger_equal(*ledgers)


def test_study_deleted_in_mid_run_is_one_line(
        problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger,
        storage: Path | str) -> None:
    ledger = make_ledger(problem, storage)
    ledger.record(outcomes[0])
    optuna.delete_study(study_name="nas", storage=make_ledger(problem, storage).storage)
    for attempt in (lambda: ledger.record(outcomes[1]), ledger.outcomes, lambda: ledger.stopped):
        with pytest.raises(LedgerError, match="study 'nas' was deleted while the search ran; "
                                              "restore it from a copy and resume") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_server_stopped_in_mid_run_is_one_line_and_loses_nothing(
        problem: Problem, outcomes: list[Outcome], postgres: Server) -> None:
    url = postgres.create(f"stopped_{time.monotonic_ns()}")

    def opened() -> Ledger:
        return open_ledger(url, space=problem.space, objectives=problem.objectives,
                           identity={}, patience_s=0.3)

    ledger = opened()
    ledger.record(outcomes[0])
    postgres.stop()
    try:
        began = time.monotonic()
        with pytest.raises(LedgerError, match=r"cannot be written \(OperationalError: .*refused"
                                              r".*\); remedy that and resume") as caught:
            ledger.record(outcomes[1])
        assert time.monotonic() - began < 15
        assert "\n" not in str(caught.value)
        with pytest.raises(LedgerError, match=r"cannot be used \(OperationalError: .*refused"):
            opened()
    finally:
        postgres.start()
    ledger.record(outcomes[1])
    assert opened().outcomes() == outcomes[:2]


def test_short_outage_is_waited_out(problem: Problem, outcomes: list[Outcome],
                                    make_ledger: MakeLedger, postgres: Server) -> None:
    ledger = make_ledger(problem, postgres.create(f"outage_{time.monotonic_ns()}"))
    postgres.stop()
    timer = threading.Timer(1.0, postgres.start)
    timer.start()
    ledger.record(outcomes[0])
    timer.join()
    assert ledger.outcomes() == outcomes[:1]


def test_locked_sqlite_is_waited_for(problem: Problem, outcomes: list[Outcome],
                                     make_ledger: MakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    ledger = make_ledger(problem, f"sqlite:///{path}?timeout=0.1")
    lock = sqlite3.connect(path, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, lock.close)
    timer.start()
    ledger.record(outcomes[0])
    timer.join()
    assert ledger.outcomes() == outcomes[:1]


def test_write_whose_answer_was_lost_counts_once(
        problem: Problem, outcomes: list[Outcome], make_ledger: MakeLedger, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = make_ledger(problem, f"sqlite:///{tmp_path / 'study.db'}")
    add, answers = ledger.study.add_trial, iter([False, True])

    def add_trial(trial: FrozenTrial) -> None:
        add(trial)
        if not next(answers):
            cause = OperationalError("commit", {}, sqlite3.OperationalError("locked"))
            raise StorageInternalError("the answer is lost") from cause

    monkeypatch.setattr(ledger.study, "add_trial", add_trial)
    ledger.record(outcomes[0])
    assert len(ledger.study.get_trials()) == 2
    assert ledger.outcomes() == outcomes[:1]
    record = read_record(ledger.where)
    assert record is not None
    assert len(record.trials) == 1


@pytest.mark.parametrize(("url", "message"), [
    ("{server}/nothing", "database \"nothing\" does not exist.*make that database or role first"),
    ("postgresql://nas:se@cret@127.0.0.1:1/nas", "check the URL, its driver and its server"),
    ("postgresql://nas:secret@127.0.0.1:1/nas", "refused.*check the URL, its driver"),
    ("postgresql://127.0.0.1:1/nas?user=nas&password=secret", "refused"),
    ("mysql://nas:secret@127.0.0.1/nas", "install its driver: pip install 'pymysql'"),
    ("sqlite:////no/such/folder/study.db", "unable to open"),
])
def test_database_that_cannot_be_used_is_one_line_without_the_password(
        problem: Problem, make_ledger: MakeLedger, postgres: Server, url: str,
        message: str) -> None:
    url = url.format(server=postgres.url("").rstrip("/"))
    with pytest.raises(LedgerError, match=message) as caught:
        make_ledger(problem, url)
    assert "\n" not in str(caught.value)
    assert "cret" not in str(caught.value)

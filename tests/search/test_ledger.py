import logging
import re
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from nas.core.errors import LedgerError
from nas.core.problem import Objective, Problem
from nas.core.space import GeneSpace
from nas.core.trial import Outcome, Trial
from nas.search.ledger import Ledger, ledger_equal, open_ledger, read_ledger

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

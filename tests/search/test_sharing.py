"""Several processes on one study: real ones, on each kind of storage."""

import itertools
import multiprocessing
import os
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState
from postgres import Server

from nas.core.arch import Arch
from nas.core.errors import InputError, LedgerError
from nas.core.problem import Problem
from nas.core.protocols import Evaluator, Executor
from nas.core.trial import Outcome, Trial
from nas.execution.serial import SerialExecutor, run_trial
from nas.search.claims import Claims
from nas.search.driver import drive
from nas.search.evolution import EarlyExitEvolution
from nas.search.ledger import Ledger, ledger_equal
from nas.search.presence import Process, processes
from nas.search.sharing import Joining

BUDGET = 32
JOIN = Joining(interval_s=0.1, grace_s=0.4, longest_poll_s=0.1)

MakeLedger = Callable[..., Ledger]
Drive = Callable[..., list[Outcome]]


@pytest.fixture
def problem(make_problem: Callable[..., Problem]) -> Problem:
    return make_problem()


@pytest.fixture
def search(problem: Problem, make_ledger: MakeLedger, evaluate: Evaluator) -> Drive:
    """The search that all processes of a test do."""

    def run(storage: Path | str, *, evaluate: Evaluator = evaluate, budget: int = BUDGET,
            executor: Executor | None = None, join: Joining | None = JOIN,
            stop: Callable[[Sequence[Outcome]], str | None] | None = None) -> list[Outcome]:
        return drive(EarlyExitEvolution(problem, budget=BUDGET), executor or SerialExecutor(),
                     evaluate, make_ledger(problem, storage), budget=budget, batch_size=8,
                     join=join, stop=stop)

    return run


@pytest.fixture
def alone(search: Drive, problem: Problem, make_ledger: MakeLedger, tmp_path: Path) -> Ledger:
    """What one process alone leaves."""
    search(tmp_path / "alone.journal", join=None)
    return make_ledger(problem, tmp_path / "alone.journal")


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if request.param == "journal":
        return tmp_path / "shared.journal"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.db'}"
    server: Server = request.getfixturevalue("postgres")
    return server.create(f"shared_{time.monotonic_ns()}")


class Log:
    """An evaluator that notes which process evaluated what; it can kill its process."""

    def __init__(self, path: Path, evaluate: Evaluator, *, dies_at: int | None = None,
                 sleep_s: float = 0.0) -> None:
        self._path = path
        self._evaluate = evaluate
        self._dies_at = dies_at
        self._sleep_s = sleep_s
        self._count = itertools.count()

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        with self._path.open("a") as file:
            file.write(f"{os.getpid()} {arch.digest}\n")
        if next(self._count) == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self._sleep_s)
        return self._evaluate(arch)

    @property
    def lines(self) -> list[list[str]]:
        return [line.split() for line in self._path.read_text().splitlines()]

    @property
    def times(self) -> Counter[str]:
        return Counter(digest for _, digest in self.lines)

    @property
    def processes(self) -> set[str]:
        return {process for process, _ in self.lines}


def together(*works: Callable[[], object]) -> list[int | None]:
    """Runs each in a process of its own, at the same time, and returns their exit codes."""
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads of libraries
        started = [context.Process(target=work) for work in works]
        for process in started:
            process.start()
    for process in started:
        process.join(60)
    return [process.exitcode for process in started]


def is_clean(ledger: Ledger) -> bool:
    """Whether no claim is open and nobody says to be at work."""
    states = {trial.state for trial in ledger.study.get_trials(deepcopy=False)}
    return TrialState.RUNNING not in states and processes(ledger) == {}


def test_two_processes_share_the_work_and_leave_what_one_leaves(
        search: Drive, storage: Path | str, alone: Ledger, make_ledger: MakeLedger,
        problem: Problem, evaluate: Evaluator, tmp_path: Path) -> None:
    log = Log(tmp_path / "log", evaluate, sleep_s=0.01)

    def work() -> None:
        assert search(storage, evaluate=log) == alone.outcomes()

    assert together(work, work) == [0, 0]
    assert set(log.times.values()) == {1}
    assert len(log.times) == BUDGET
    assert len(log.processes) == 2
    shared = make_ledger(problem, storage)
    assert ledger_equal(shared, alone)
    assert shared.batches() == alone.batches()
    assert is_clean(shared)


@pytest.mark.parametrize("dies_at", [0, 5])
def test_one_killed_and_the_other_finishes(
        search: Drive, storage: Path | str, alone: Ledger, make_ledger: MakeLedger,
        problem: Problem, evaluate: Evaluator, tmp_path: Path, dies_at: int) -> None:
    path = tmp_path / "log"
    dying, living = (Log(path, evaluate, dies_at=at, sleep_s=0.01) for at in (dies_at, None))
    codes = together(lambda: search(storage, evaluate=dying),
                     lambda: search(storage, evaluate=living))
    assert codes == [-signal.SIGKILL, 0]
    # What it was at when it died is evaluated again, and nothing else.
    assert sorted(living.times.values()) == [1] * (BUDGET - 1) + [2]
    shared = make_ledger(problem, storage)
    assert ledger_equal(shared, alone)
    assert shared.batches() == alone.batches()


def test_process_that_comes_late_or_resumes_takes_part(
        search: Drive, alone: Ledger, make_ledger: MakeLedger, problem: Problem,
        evaluate: Evaluator, tmp_path: Path) -> None:
    storage = tmp_path / "shared.journal"
    search(storage, join=None, budget=16)
    log = Log(tmp_path / "log", evaluate)
    assert search(storage, evaluate=log) == alone.outcomes()
    assert len(log.times) == BUDGET - 16
    assert search(storage, join=None) == search(storage) == alone.outcomes()
    assert len(log.times) == BUDGET - 16
    assert is_clean(make_ledger(problem, storage))


def test_end_that_one_process_decides_is_that_of_all(
        search: Drive, storage: Path | str, alone: Ledger, make_ledger: MakeLedger,
        problem: Problem, evaluate: Evaluator, tmp_path: Path) -> None:
    log = Log(tmp_path / "log", evaluate, sleep_s=0.1)

    def impatient(outcomes: Sequence[Outcome]) -> str | None:
        return "time is over" if len(outcomes) >= 16 else None

    def work(stop: Callable[[Sequence[Outcome]], str | None] | None) -> None:
        found = search(storage, evaluate=log, stop=stop)
        stopped = make_ledger(problem, storage).stopped
        assert stopped is not None
        assert stopped.after == len(found)
        assert found == alone.outcomes()[:len(found)]

    assert together(lambda: work(None), lambda: work(impatient)) == [0, 0]
    shared = make_ledger(problem, storage)
    assert shared.stopped is not None
    assert 16 <= shared.stopped.after < BUDGET
    assert shared.stopped.reason == "time is over"
    assert len(shared.outcomes()) == shared.stopped.after == len(log.times)
    assert is_clean(shared)


class Halving:
    """Evaluates half of each batch; which half, that depends on the whole batch."""

    def __init__(self) -> None:
        self._there: list[Outcome] = []

    def recall(self, outcomes: Sequence[Outcome]) -> None:
        self._there = list(outcomes)

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        whole = sorted([*trials, *(outcome.trial for outcome in self._there)],
                       key=lambda trial: trial.arch.digest)
        for trial in trials:
            outcome = run_trial(evaluate, trial)
            yield outcome if trial in whole[:len(whole) // 2] else replace(
                outcome, stage="partial", cost=0.25)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("dies_at", [None, 3])
def test_executor_that_decides_over_a_batch_sees_all_of_it(
        search: Drive, make_ledger: MakeLedger, problem: Problem, evaluate: Evaluator,
        tmp_path: Path, dies_at: int | None) -> None:
    search(tmp_path / "alone.journal", executor=Halving(), join=None)
    alone = make_ledger(problem, tmp_path / "alone.journal")
    assert len({outcome.cost for outcome in alone.outcomes()}) == 2
    storage = tmp_path / "shared.journal"
    logs = [Log(tmp_path / "log", evaluate, dies_at=at) for at in (dies_at, None)]
    codes = together(*(lambda log=log: search(storage, evaluate=log, executor=Halving())
                       for log in logs))
    assert codes == [0 if dies_at is None else -signal.SIGKILL, 0]
    assert sum(logs[0].times.values()) == len(alone.outcomes()) + (dies_at is not None)
    assert ledger_equal(make_ledger(problem, storage), alone)


def test_workers_trials_are_claimed_at_once(search: Drive, alone: Ledger,
                                            tmp_path: Path) -> None:
    sizes = []

    class Counting(SerialExecutor):
        def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
            sizes.append(len(trials))
            return super().run(evaluate, trials)

    found = search(tmp_path / "shared.journal", executor=Counting(),
                   join=replace(JOIN, workers=3))
    assert found == alone.outcomes()
    assert sizes == [3, 3, 2] * (BUDGET // 8)


ELSEWHERE = Process(token="0123abcd", shares=True, host="elsewhere", pid=1, scope="another boot",
                    started="1")


def claim_elsewhere(ledger: Ledger, alone: Ledger, process: Process) -> None:
    """Leaves what a process of another machine leaves that died while it ran the first trial."""
    ledger.mark(process.name, {"token": process.token, "shares": process.shares,
                               "host": process.host, "pid": process.pid, "beat": 7,
                               "scope": process.scope, "started": process.started})
    Claims(ledger).put(alone.outcomes()[0].trial, process.token, None)


@pytest.mark.parametrize("join", [JOIN, None])
def test_dead_process_of_another_machine_is_waited_for_and_replaced(
        search: Drive, alone: Ledger, make_ledger: MakeLedger, problem: Problem, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, join: Joining | None) -> None:
    monkeypatch.setattr("nas.search.work.INTERVAL_S", 0.1)
    storage = tmp_path / "shared.journal"
    claim_elsewhere(make_ledger(problem, storage), alone, ELSEWHERE)
    began = time.monotonic()
    search(storage, join=join)
    assert time.monotonic() - began > (JOIN.grace_s if join else 0.2)
    assert ledger_equal(make_ledger(problem, storage), alone)


def test_living_process_of_another_machine_is_not_disturbed(
        search: Drive, alone: Ledger, make_ledger: MakeLedger, problem: Problem,
        tmp_path: Path) -> None:
    storage = tmp_path / "shared.journal"
    claim_elsewhere(make_ledger(problem, storage), alone, ELSEWHERE)

    def elsewhere() -> None:
        ledger = make_ledger(problem, storage)
        for beat in range(8, 20):
            time.sleep(0.1)
            value = ledger.marks()[ELSEWHERE.name]
            ledger.mark(ELSEWHERE.name, {**value, "beat": beat})
        board = Claims(ledger).board()
        holder = board.holder(0)
        assert holder is not None
        assert holder.owner == ELSEWHERE.token
        assert Claims(ledger).finish(holder.number, alone.outcomes()[0])

    assert together(elsewhere, lambda: search(storage)) == [0, 0]
    assert ledger_equal(make_ledger(problem, storage), alone)


@pytest.mark.parametrize(("first", "second", "remedy"), [
    (None, None, "give --join|start that one with --join too"), (None, JOIN, "start that one"),
    (JOIN, None, "give --join to share it")])
def test_second_search_that_does_not_share_is_refused(
        search: Drive, storage: Path | str, evaluate: Evaluator, first: Joining | None,
        second: Joining | None, remedy: str) -> None:
    refused = []

    def meanwhile(arch: Arch) -> Mapping[str, float]:
        if not refused:
            with pytest.raises(LedgerError, match=f"process {os.getpid()} on .* searches in it; "
                                                  f"wait until it has ended, or ({remedy})"):
                search(storage, join=second)
            refused.append(arch)
        return evaluate(arch)

    assert len(search(storage, evaluate=meanwhile, join=first, budget=3)) == 3
    assert refused
    assert len(search(storage, join=second, budget=6)) == 6


def test_lowest_claim_counts_and_a_retired_one_cannot_be_finished(
        alone: Ledger, make_ledger: MakeLedger, problem: Problem, storage: Path | str) -> None:
    ledger = make_ledger(problem, storage)
    outcome = alone.outcomes()[0]
    mine, others = (Claims(make_ledger(problem, storage)) for _ in range(2))
    mine.put(outcome.trial, "a", {"first": 0})
    others.put(outcome.trial, "b", {"first": 0})
    first, second = (claim.number for claim in mine.board().claims)
    for claims in (mine, others):
        holder = claims.board().holder(0)
        assert holder is not None
        assert holder.number == first
    others.retire(first)
    assert not mine.finish(first, outcome)
    assert others.finish(second, outcome)
    others.retire(second)  # too late
    assert ledger.outcomes() == [outcome]
    assert list(mine.board().finished) == [0]
    assert ledger.batches() == {0: {"first": 0}}


def test_failed_and_partial_outcomes_of_claims_are_read_back(
        alone: Ledger, make_ledger: MakeLedger, problem: Problem, storage: Path | str) -> None:
    ledger = make_ledger(problem, storage)
    claims = Claims(ledger)
    whole = alone.outcomes()
    failed = Outcome(whole[0].trial, error="RuntimeError: out of memory", stage="x", cost=0.5)
    good = next(outcome for outcome in whole[1:] if outcome.ok)
    partial = replace(good, stage="partial", cost=0.25)
    for outcome in (failed, partial):
        claims.put(outcome.trial, "a", None)
        claim, = claims.board().put_by("a", outcome.trial.id)
        assert claims.finish(claim.number, outcome)
    assert ledger.outcomes() == [failed, partial]
    assert [trial.state for trial in ledger.study.get_trials()] == [
        TrialState.FAIL, TrialState.PRUNED]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"interval_s": 0.0}, {"grace_s": 1.0},
                                   {"longest_poll_s": 0.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="joining: "):
        Joining(**wrong)


def test_interrupted_process_gives_its_claims_up(
        search: Drive, storage: Path | str, alone: Ledger, make_ledger: MakeLedger,
        problem: Problem) -> None:
    def interrupted(_: Arch) -> Mapping[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(storage, evaluate=interrupted, join=replace(JOIN, workers=3))
    ledger = make_ledger(problem, storage)
    assert is_clean(ledger)
    assert ledger.outcomes() == []
    search(storage)
    assert ledger_equal(ledger, alone)

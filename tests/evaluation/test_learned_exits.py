"""Exits that learn: whom they let go, when they open and close, what resume needs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import Gene, GeneSpace
from nas.core.trial import Outcome, Trial
from nas.core.types import FloatArray
from nas.evaluation.learned_exits import LearnedExits
from nas.evaluation.quantile_exit import ExitConfig, QuantileExit
from nas.evaluation.surrogate_scores import SurrogateScores

SPACE = GeneSpace("exits/1", tuple(Gene(name, tuple(range(6))) for name in "abcd"))


def quality(arch: Arch) -> float:
    """Two genes cost and help, two help alone."""
    choice = arch.as_dict()
    return float(choice["a"] + choice["b"] + 2 * choice["c"] + 2 * choice["d"])


def cost(archs: Sequence[Arch]) -> FloatArray:
    return np.array([[1.0 + arch.as_dict()["a"] + arch.as_dict()["b"]] for arch in archs])


class Fixed:
    """A scorer that knows the quality, or its opposite, or nothing."""

    def __init__(self, sign: float, name: str = "fixed") -> None:
        self.name = name
        self._sign = sign
        self.asked: list[str] = []
        self.known: dict[str, float] = {}

    def __call__(self, archs: Sequence[Arch]) -> FloatArray:
        self.asked += [arch.digest for arch in archs]
        return np.array([self._sign * quality(arch) for arch in archs])

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        pass

    def record(self) -> Mapping[str, float]:
        return dict.fromkeys(self.asked[-1:], 1.0)

    def recall(self, scores: Mapping[str, float]) -> None:
        self.known.update(scores)


def truth(outcome: Outcome) -> float:
    return -outcome.metrics["error"]


def made(scorer, *, explorers: float = 0.05, **config) -> LearnedExits:
    return LearnedExits([QuantileExit(scorer, truth=truth, costs=cost,
                                      config=ExitConfig(**config))], seed=0, explorers=explorers)


def searched(gate: LearnedExits, count: int, *, batch: int = 8, seed: int = 0
             ) -> tuple[list[Arch], list[Arch]]:
    """Shows the gate random candidates until `count` passed, telling it in batches."""
    rng = np.random.default_rng(seed)
    passed: list[Arch] = []
    left: list[Arch] = []
    waiting: list[Outcome] = []
    while len(passed) < count:
        arch = SPACE.sample(rng)
        if gate(arch) is not None:
            left.append(arch)
            continue
        waiting.append(Outcome(Trial(len(passed), arch), {"error": -quality(arch)}))
        passed.append(arch)
        if len(waiting) == batch:
            gate.record()
            gate.tell(waiting)
            waiting = []
    return passed, left


def mean_quality(archs: Sequence[Arch]) -> float:
    return float(np.mean([quality(arch) for arch in archs]))


def test_nobody_leaves_during_the_warm_up_and_the_worse_half_afterwards():
    gate = made(Fixed(1.0), warm_up=24)
    _, left = searched(gate, 24)
    assert left == []
    passed, left = searched(gate, 150)
    assert 0.3 < len(left) / (len(left) + len(passed)) < 0.7
    assert mean_quality(passed) > mean_quality(left) + 3
    assert gate.report()[0]["switches"] == [[24, True]]


def test_small_networks_are_compared_with_small_ones():
    gate = made(Fixed(1.0), warm_up=16)
    searched(gate, 200)
    passed, _ = searched(gate, 200, seed=1)
    # Uniform draws of two genes 0 … 5: costs of 1 + 5 on average; the exit must not raise that.
    assert cost(passed).mean() == pytest.approx(6.0, abs=0.4)


def test_a_score_that_is_wrong_never_opens_its_exit():
    gate = made(Fixed(-1.0), warm_up=16)
    _, left = searched(gate, 100)
    report, = gate.report()
    assert left == []
    assert not report["open"]
    assert report["trust"]["high"] < 0


def test_a_score_that_turns_wrong_is_switched_off():
    scorer = Fixed(1.0)
    gate = made(scorer, warm_up=16)
    searched(gate, 40)
    assert gate.report()[0]["open"]
    scorer._sign = -1.0
    searched(gate, 200, seed=1)
    report, = gate.report()
    assert not report["open"]
    assert [is_open for _, is_open in report["switches"]] == [True, False]


def test_explorers_pass_whatever_their_score_is():
    gate = made(Fixed(1.0), warm_up=16, explorers=1.0)
    _, left = searched(gate, 100)
    assert left == []
    assert gate.report()[0]["open"]


def test_exits_are_asked_in_order_and_named():
    scorers = [Fixed(sign, name) for name, sign in (("wrong", -1.0), ("one", 1.0), ("two", 1.0))]
    gate = LearnedExits([QuantileExit(scorer, truth=truth, costs=cost, config=ExitConfig(warm_up=8))
                         for scorer in scorers], seed=0)
    searched(gate, 60)
    rng = np.random.default_rng(5)
    answers = [gate(SPACE.sample(rng)) for _ in range(60)]
    assert gate.names == ["wrong", "one", "two"]
    assert set(answers) == {None, "one", "two"}
    assert answers.count("one") > answers.count("two") > 0  # the second sees what the first lets by


def test_the_same_candidates_get_the_same_answers():
    first, second = (searched(made(Fixed(1.0), warm_up=16), 80) for _ in range(2))
    assert first == second


def test_a_candidate_without_a_score_passes():
    class Blind(Fixed):
        def __call__(self, archs: Sequence[Arch]) -> FloatArray:
            return np.full(len(archs), np.nan)

    gate = made(Blind(1.0), warm_up=8)
    _, left = searched(gate, 60)
    assert left == []
    assert gate.report()[0]["trust"] is None


def test_records_are_handed_to_the_scorers():
    scorer = Fixed(1.0)
    gate = made(scorer)
    arch = SPACE.extreme(largest=True)
    gate(arch)
    record = gate.record()
    assert record == {"fixed": {"scores": {arch.digest: 1.0}, "open": False}}
    gate.recall([record, {"another": {}}])
    assert scorer.known == {arch.digest: 1.0}


@pytest.mark.parametrize("make", [
    lambda: made(Fixed(1.0), explorers=0.0), lambda: made(Fixed(1.0), share=1.0),
    lambda: made(Fixed(1.0), confidence=0.0),
    lambda: LearnedExits([QuantileExit(Fixed(1.0), truth=truth, costs=cost, config=ExitConfig())
                          for _ in range(2)], seed=0)])
def test_options_out_of_range_are_errors(make):
    with pytest.raises(InputError):
        make()


class Mean:
    """A predictor: the nearest known network's value."""

    def fit(self, x, y):
        self.x, self.y = x, y

    def predict(self, x):
        from nas.core.protocols import Prediction

        away = ((x[:, None] - self.x) ** 2).sum(axis=2)
        return Prediction(self.y[away.argmin(axis=1)], np.zeros(len(x)))


def test_a_surrogate_learns_from_outcomes_and_is_judged_by_what_it_said_before():
    scorer = SurrogateScores(Mean, features=lambda archs: SPACE.encode(archs).astype(float),
                             truth=truth, minimum=12)
    arch = SPACE.extreme(largest=False)
    assert scorer([arch]) is None
    gate = made(scorer, warm_up=16)
    passed, left = searched(gate, 120)
    report, = gate.report()
    assert report["open"]
    assert report["trust"]["pairs"] < 120  # nothing was said of the first
    assert report["trust"]["spearman"] < 0.99  # of its own fit it would be 1
    assert mean_quality(passed[60:]) > mean_quality(left)

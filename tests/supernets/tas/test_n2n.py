"""N2N learns from rewards, and a stopped search goes on as if nothing had happened."""

import json

import numpy as np
import pytest
from tas_subjects import make_subject, make_supernet

from nas.core.costs import ClosedFormCosts
from nas.core.errors import DataError, EvaluationError, InputError
from nas.core.space import Gene, GeneSpace
from supernets.tas.methods.n2n import N2N
from supernets.tas.methods.n2n_policy import Policy


@pytest.fixture(scope="module")
def supernet():
    return make_supernet("cifar_resnet20")


def accuracy(arch):
    # The second stage's blocks are needed, the others are not.
    values = arch.as_dict()
    needed = [values[name] / 16 for name in values if name.startswith("stage1.block")
              if int(name[len("stage1.block")]) < values["stage1.depth"]]
    return 0.1 + 0.8 * sum(needed) / 6


def search(supernet, path, share=0.5, *, seed=0, accuracy=accuracy, **given):
    subject = make_subject(supernet, share, seed=seed)
    given = {"removals": 10, "shrinkages": 15, "unpruned_accuracy": 0.9, **given}
    return N2N(accuracy=accuracy, log=path, **given)(subject), subject.budget


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_budget_is_met(supernet, tmp_path, share):
    arch, budget = search(supernet, tmp_path / "log.json", share)
    assert budget.is_met(budget.cost.of(arch))


def test_rewards_are_those_of_the_paper(supernet, tmp_path):
    log = tmp_path / "log.json"
    told = []
    _, budget = search(supernet, log, on_reward=lambda *now: told.append(now))
    assert [done for done, _, _ in told] == list(range(1, 26))
    assert {total for _, total, _ in told} == {25}
    costs = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    whole = supernet.space.encode([supernet.space.extreme(largest=True)])
    rows = json.loads(log.read_text())["rewards"]
    for row in rows:
        code = np.array([row["code"]])
        compression = 1 - (costs.predict("params", code).value[0]
                           / costs.predict("params", whole).value[0])
        reached = accuracy(supernet.space.decode(code)[0])
        assert row["reward"] == pytest.approx(
            compression * (2 - compression) * reached / 0.9)
        if row["stage"] == "shrinkage":
            assert budget.cost.predict(code)[0] <= budget.limit
    rewards = {reward for _, _, reward in told}
    assert rewards == {row["reward"] for row in rows} | {-1.0}  # some were above the budget


def test_a_stopped_search_goes_on(supernet, tmp_path):
    class Stopped(Exception):
        pass

    calls = []

    def counted(arch):
        calls.append(arch)
        return accuracy(arch)

    def stopping(arch):
        if len(calls) == 7:
            raise Stopped
        return counted(arch)

    whole, _ = search(supernet, tmp_path / "whole.json", accuracy=counted)
    expected = list(calls)
    calls.clear()
    assert len(set(expected)) == len(expected)  # none is trained twice
    with pytest.raises(Stopped):
        search(supernet, tmp_path / "log.json", accuracy=stopping)
    found, _ = search(supernet, tmp_path / "log.json", accuracy=counted)
    assert (found, calls) == (whole, expected)
    assert (tmp_path / "log.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_seeds_differ(supernet, tmp_path):
    first, second = (search(supernet, tmp_path / f"{seed}.json", seed=seed)[0] for seed in (0, 1))
    assert first != second


def test_rewards_of_another_search_are_refused(supernet, tmp_path):
    log = tmp_path / "log.json"
    search(supernet, log)
    with pytest.raises(DataError, match=r"another search \(seed is 0 there, 1 here\)"):
        search(supernet, log, seed=1)
    log.write_text(log.read_text()[:-9])
    with pytest.raises(DataError, match=r"cannot be read .*; remove the file to start anew"):
        search(supernet, log)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.5])
def test_accuracies_must_be_numbers(supernet, tmp_path, value):
    with pytest.raises(EvaluationError, match="must lie in 0 … 1"):
        search(supernet, tmp_path / "log.json", accuracy=lambda _: value)


def test_what_cannot_be_searched_is_said(supernet, tmp_path):
    with pytest.raises(InputError, match="at least 1"):
        search(supernet, tmp_path / "log.json", removals=0)
    with pytest.raises(InputError, match="accuracy is 0; train it first"):
        search(supernet, tmp_path / "log.json", unpruned_accuracy=0.0)


def test_searches_that_draw_nothing_feasible_say_so(supernet, tmp_path):
    def draw_one():  # about half of the draws are within the budget
        for seed in range(6):
            search(supernet, tmp_path / f"{seed}.json", 0.3, removals=1, shrinkages=1, seed=seed)

    with pytest.raises(InputError, match=r"n2n drew no network within .* 1 shrinkage draws; ask"):
        draw_one()


def test_a_policy_learns_what_is_rewarded():
    space = GeneSpace("toy", tuple(Gene(name, (1, 2, 3, 4)) for name in "abcd"))
    wins = []
    for seed in range(5):
        policy = Policy(space, np.zeros(4, np.int16), np.array([True, True, True, False]),
                        seed=seed, purpose="test", learning_rate=0.5)
        rng_like = [policy.draw(number) for number in range(20)]
        assert all(code[3] == 0 for code in rng_like)  # it is not free
        for number in range(300):
            code = policy.draw(number)
            policy.learn(code, float(code[0] == 2) - float(code[1] == 1))
        late = np.array([policy.draw(number) for number in range(1000, 1100)])
        wins.append((np.mean(late[:, 0] == 2), np.mean(late[:, 1] == 1)))
    assert min(won for won, _ in wins) > 0.8
    assert max(lost for _, lost in wins) < 0.1


def test_a_policy_leans_until_half_of_its_draws_are_cheap():
    space = GeneSpace("toy", tuple(Gene(name, (1, 2, 3, 4)) for name in "abcdefgh"))
    policy = Policy(space, np.zeros(8, np.int16), np.ones(8, np.bool_), seed=0, purpose="test",
                    learning_rate=0.5)

    def share():
        return np.mean([policy.draw(number).sum() <= 4 for number in range(400)])

    assert share() < 0.1
    policy.tilt(lambda codes: codes.sum(1).astype(float), 4.0)
    assert 0.35 < share() < 0.65

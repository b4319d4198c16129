import numpy as np
import pytest

from nas.export.parity import TOLERANCE, compare


def logits(*rows):
    return np.array(rows, dtype=np.float32)


def test_equal_logits_agree():
    parity = compare(logits([1, 2, 3]), logits([1, 2, 3]))
    assert parity.ok
    assert parity.max_abs_diff == 0


def test_a_tie_may_fall_either_way_but_a_clear_winner_may_not():
    near = TOLERANCE / 4
    assert compare(logits([1, 1 + near]), logits([1 + near, 1])).ok
    changed = compare(logits([1, 1.5], [0, 1]), logits([1.5, 1], [0, 1]))
    assert changed.top1_changed == 1
    assert not changed.ok


@pytest.mark.parametrize("found", [
    logits([1, 2 + 2 * TOLERANCE]), logits([1, np.nan]), logits([np.inf, 2]), logits([1, 2, 3])])
def test_anything_else_does_not_agree(found):
    assert not compare(logits([1, 2]), found).ok


def test_a_single_logit_has_no_rival():
    assert compare(logits([1], [2]), logits([1], [2])).ok

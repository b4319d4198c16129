import numpy as np
import pytest

from hardware_profiles.measure import Measurement
from hardware_profiles.profile import Calibration, MeasureProtocol, Quality, Timing, Validity
from hardware_profiles.validity import assess, doubts

PASSES = 4


def timing(pass_ms: list[float], *, stable: bool = True) -> Timing:
    fastest = min(pass_ms)
    agreeing = sum(one <= 1.05 * fastest for one in pass_ms)
    return Timing(latency_ms=fastest, cpu_min_ms=fastest, wall_min_ms=fastest,
                  wall_median_ms=fastest, wall_p95_ms=fastest, pass_ms=tuple(pass_ms),
                  agreeing=agreeing, stable=stable, runs=8)


def steady(*, stable: bool = True) -> list[Timing]:
    return [timing([ms] * PASSES, stable=stable) for ms in (1.0, 2.0, 3.0, 4.0, 5.0)]


@pytest.fixture
def judge(vocabulary):
    def judge(nets: list[Timing], *, ratio: float = 1.0, in10: float = 1.0,
              timer: str = "thread_cpu", clocks: tuple[float, ...] = (),
              remarks: tuple[str, ...] = ()) -> Validity:
        quality = Quality(mape=0.01, bias=0.0, in5=in10, in10=in10, spearman=0.99)
        fit = Calibration(model="affine_blocks", coefficients={"own_ms": 1.0},
                          empty_ms=0, calib_count=4,
                          test_count=4, held_out=quality, lower_ratio=1, upper_ratio=1,
                          baselines={})
        measured = Measurement({str(i): net for i, net in enumerate(nets)}, ratio,
                               clocks)
        return assess(vocabulary.blocks, nets, measured, calibration=fit, remarks=remarks,
                      protocol=MeasureProtocol(passes=PASSES, timer=timer))

    return judge


def test_a_quiet_machine_gives_a_valid_profile_without_warnings(judge):
    found = judge(steady())
    assert (found.valid, found.warnings, found.unstable) == (True, (), 0)
    assert (found.repeat_spearman, found.repeat_difference) == (pytest.approx(1.0), 0.0)
    assert found.input_shape == (1, 8, 8)


@pytest.mark.parametrize(("circumstance", "warning"), [
    ({"ratio": 1.3}, "contended: the wall clock ran 1.30 times"),
    ({"clocks": (2600.0, 2600.0, 1900.0, 1800.0)}, "throttled: the clock fell to 73%"),
    ({"remarks": ("fp16 in name only",)}, "fp16 in name only"),
    ({"in10": 0.9}, "only 90% of held-out networks"),
])
def test_what_to_doubt_is_said_but_not_fatal(circumstance, warning, judge):
    found = judge(steady(), **circumstance)
    assert found.valid
    assert len(found.warnings) == 1
    assert warning in found.warnings[0]


def test_models_that_never_settled_are_counted(judge):
    found = judge(steady(stable=False))
    assert found.unstable == 5
    assert "5 of 5 models did not settle" in found.warnings[0]


def test_one_slow_pass_shows_in_the_passes_but_not_in_the_statistic(judge):
    nets = [timing([ms, ms, ms, slow * ms]) for ms, slow in zip(
        (1.0, 1.1, 1.2, 1.3, 1.4), (1.5, 1.0, 1.4, 1.0, 1.1), strict=True)]
    found = judge(nets)
    assert found.valid
    assert found.repeat_spearman == pytest.approx(1.0)
    assert found.pass_difference > 0 or found.pass_spearman < 1.0 - 1e-9


def test_networks_that_do_not_repeat_make_a_profile_invalid(judge):
    rng = np.random.default_rng(0)
    found = judge([timing([1 + 0.04 * rng.random() for _ in range(PASSES)]) for _ in range(20)])
    assert found.repeat_spearman < 0.94
    assert not found.valid
    assert "do not repeat" in found.warnings[0]


def test_a_machine_that_becomes_slower_is_found_by_its_passes(judge):
    found = judge([timing([ms, ms, 1.08 * ms, 1.08 * ms]) for ms in (1.0, 2.0, 3.0, 4.0, 5.0)])
    assert found.drift == pytest.approx(1.08)
    assert any(line.startswith("throttled: later passes took 1.08") for line in found.warnings)
    assert any(line.startswith("throttled") for line in doubts(found))


def test_neighbours_that_come_and_go_are_no_throttling(judge):
    nets = [timing([ms * (1.3 if slow == one else 1.0) for one in range(PASSES)])
            for ms, slow in zip((1.0, 2.0, 3.0, 4.0, 5.0), (0, 1, 2, 3, 0), strict=True)]
    assert judge(nets).drift == pytest.approx(1.0)
    assert doubts(judge(nets)) == ()


def test_what_is_doubted(judge):
    assert doubts(judge(steady())) == ()
    assert doubts(judge(steady(), in10=0.5)) == ()  # of the fit, not of this
    assert len(doubts(judge(steady(), ratio=1.2, clocks=(2.0, 1.0)))) == 2
    rng = np.random.default_rng(0)
    found = judge([timing([1 + 0.04 * rng.random() for _ in range(PASSES)]) for _ in range(20)])
    assert doubts(found)[0] == "whole networks do not repeat"

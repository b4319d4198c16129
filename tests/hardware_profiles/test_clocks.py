import pytest

from hardware_profiles.clocks import clock_mhz, drift, temperature_c


def test_the_fastest_core_and_the_hottest_zone_count(tmp_path):
    for core, khz in enumerate((800_000, 2_600_000)):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{khz}\n")
    for zone, text in enumerate(("41000\n", "55500\n", "no sensor")):
        folder = tmp_path / f"thermal_zone{zone}"
        folder.mkdir()
        (folder / "temp").write_text(text)
    assert clock_mhz(tmp_path) == 2600.0
    assert temperature_c(tmp_path) == 55.5


def test_a_system_that_does_not_tell(tmp_path):
    assert clock_mhz(tmp_path / "nowhere") is None
    assert temperature_c(tmp_path) is None


@pytest.mark.parametrize(("values", "best", "expected"), [
    ([1.0, 5.0, 1.2, 1.3], min, 1.2), ([2.0, 9.0, 1.0], min, 0.5), ([4.0, 3.0, 2.0, 1.0], max, 0.5),
    ([1.0], min, None), ([], max, None)])
def test_drift_compares_the_best_of_the_halves(values, best, expected):
    assert drift(values, best) == (expected if expected is None else pytest.approx(expected))

"""What Linux says of the processor while it works: its clock and its temperature."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_CPUS, _ZONES = Path("/sys/devices/system/cpu"), Path("/sys/class/thermal")


def clock_mhz(root: Path = _CPUS) -> float | None:
    """Returns the fastest current clock of all cores, None where the system does not tell.

    The fastest, because idle cores clock down while one of them works.
    """
    return _largest(root.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))


def temperature_c(root: Path = _ZONES) -> float | None:
    """Returns the temperature of the hottest zone, None where the system does not tell."""
    return _largest(root.glob("thermal_zone*/temp"))


def drift(values: Sequence[float], best: Callable[[Sequence[float]], float]) -> float | None:
    """Returns the best of the later half of some values by the best of the earlier half.

    The best, because what comes and goes, such as a neighbour, only ever makes a value worse.

    Args:
        values: In order; with an odd number the middle one belongs to neither half.
        best: Such as `min` for times. None is returned for fewer than two values.
    """
    half = len(values) // 2
    return None if half == 0 else best(values[-half:]) / best(values[:half])


def _largest(files: Iterable[Path]) -> float | None:
    found = []
    for file in files:
        try:
            found.append(int(file.read_text()) / 1000)
        except (OSError, ValueError):  # a core that is offline, a zone without a sensor
            continue
    return max(found, default=None)

"""The use-cases of `nas profile`: measure this machine, list and show profiles."""

from pathlib import Path
from typing import Any

from hardware_profiles.features import OWN_MS
from hardware_profiles.profile import CONSTANT, Calibration, HardwareProfile, Quality, Validity
from hardware_profiles.profile_file import read_profile
from hardware_profiles.store import user_store
from nas.core.errors import InputError
from nas.pipeline.compose import load_supernet, measure_host
from nas.pipeline.events import Watcher, silent


def run_profile(supernet: str, *, threads: int = 1, watch: Watcher = silent) -> HardwareProfile:
    """Measures this machine for a supernet's space and stores the profile in place of an old one.

    Raises:
        InputError: An unknown supernet, or fewer than one thread.
    """
    if threads < 1:
        raise InputError(f"--threads {threads}: at least 1")
    return measure_host(load_supernet(supernet), threads=threads, watch=watch)


def load_profile(name: str) -> HardwareProfile:
    """Returns a stored profile by its id, or the profile in a file.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    if Path(name).is_file():
        return read_profile(Path(name))
    stored = user_store().list()
    for item in stored:
        if item.path.stem == name:
            return read_profile(item.path)
    known = ", ".join(item.path.stem for item in stored) or "none; `nas profile run` makes one"
    raise InputError(f"no profile {name!r}; stored: {known}")


def list_profiles() -> list[dict[str, Any]]:
    """Returns one row for each stored profile; one that cannot be used says why."""
    return [_row(item.path.stem, item.profile, item.problem) for item in user_store().list()]


def describe(profile: HardwareProfile) -> list[tuple[str, str]]:
    """Returns what a profile is good for and how far it can be trusted, as (name, text)."""
    fit, runtime = profile.calibration, profile.runtime
    return [
        ("id", profile.id),
        ("kind", profile.kind),
        ("device", profile.device.summary),
        ("runtime", f"{runtime.name} {runtime.version}, {runtime.provider}, {runtime.precision}, "
                    f"{runtime.threads} thread(s), batch {runtime.batch}"),
        ("space", profile.space),
        ("measured", f"{len(profile.entries)} blocks, {len(profile.subnets)} whole networks, "
                     f"{profile.created:%Y-%m-%d %H:%M} UTC"),
        ("model", _formula(fit)),
        ("held out", f"{fit.test_count} networks: {_quality(fit.held_out)}"),
        *((f"  {name} alone", _quality(found)) for name, found in fit.baselines.items()),
        ("repeats", _repeats(profile.validity)),
        ("warnings", "; ".join(profile.validity.warnings) or "none"),
    ]


def _row(name: str, profile: HardwareProfile | None, problem: str | None) -> dict[str, Any]:
    if profile is None:
        return {"name": name, "kind": "unusable", "space": problem or "", "runtime": "",
                "threads": 0, "within_10": 0.0, "created": ""}
    return {"name": name, "kind": profile.kind, "space": profile.space,
            "runtime": f"{profile.runtime.name} {profile.runtime.version}",
            "threads": profile.runtime.threads, "within_10": profile.calibration.held_out.in10,
            "created": f"{profile.created:%Y-%m-%d %H:%M}"}


def _formula(fit: Calibration) -> str:
    names = {CONSTANT: "", OWN_MS: " · (block − empty)"}
    return f"{fit.model}: " + " + ".join(
        f"{value:.4g}{names.get(name, f' · {name}')}" for name, value in fit.coefficients.items())


def _repeats(validity: Validity) -> str:
    if validity.repeat_spearman is None or validity.repeat_difference is None:
        return "not measured"
    return (f"rank {validity.repeat_spearman:.3f}, median difference "
            f"{validity.repeat_difference:.1%}")


def _quality(quality: Quality) -> str:
    return (f"Spearman {quality.spearman:.3f}, MAPE {quality.mape:.1%}, bias {quality.bias:+.1%}, "
            f"{quality.in10:.0%} within 10 %, {quality.in5:.0%} within 5 %")

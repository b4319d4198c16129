"""The use-cases of `nas profile`: measure this machine, list and show profiles."""

import shlex
from pathlib import Path
from typing import Any, cast, get_args

from hardware_profiles.features import OWN_MS
from hardware_profiles.host import HostConfig
from hardware_profiles.profile import (
    CONSTANT,
    Calibration,
    HardwareProfile,
    MeasureProtocol,
    Precision,
    Quality,
    Validity,
)
from hardware_profiles.profile_file import read_profile
from hardware_profiles.session import provider_name
from hardware_profiles.store import user_store
from nas.core.errors import InputError, RunInterrupted
from nas.pipeline.compose import measure_few_shot, measure_host
from nas.pipeline.design import load_design
from nas.pipeline.events import Watcher, silent

_DEFAULTS = {"threads": 1, "precision": "fp32", "batch": 1, "provider": "cpu"}


def run_profile(supernet: str, *, threads: int = 1, precision: str = "fp32", batch: int = 1,
                resolution: int | None = None, seconds: float | None = None, provider: str = "cpu",
                allow_contended: bool = False, few_shot: int | None = None,
                watch: Watcher = silent) -> HardwareProfile:
    """Measures this machine for a supernet's space and stores the profile in place of an old one.

    A few-shot profile lies beside a measured one, which stays in use.

    Args:
        supernet: Its name, factory or folder.
        threads: Of each inference.
        precision: One of ``"fp32"``, ``"fp16"`` and ``"int8"``.
        batch: Of each inference.
        resolution: Side of the input images; None: the supernet's own.
        seconds: Of a clip of speech; None: what the supernet validates on.
        provider: ONNX Runtime's execution provider, in full or in short.
        allow_contended: Whether a measurement that other programs disturbed is kept, marked.
        few_shot: Measure only so many whole networks; None: every block.
        watch: Is told of measuring.

    Raises:
        InputError: An unknown supernet, precision or provider, or a number out of range.
        MeasurementError: The measurement cannot be trusted.
        RunInterrupted: Ctrl-C; what had been measured is kept.
    """
    config = HostConfig(threads=_at_least_one("--threads", threads), batch=_at_least_one(
        "--batch", batch), precision=_precision(precision), provider=provider_name(provider))
    design = load_design(supernet, resolution=resolution, seconds=seconds)
    if few_shot is not None:
        return measure_few_shot(design, nets=few_shot, config=config,
                                keep_doubtful=allow_contended, watch=watch)
    try:
        return measure_host(design, config=config, keep_doubtful=allow_contended, watch=watch)
    except KeyboardInterrupt:
        given = {"supernet": supernet, "threads": threads, "precision": precision, "batch": batch,
                 "resolution": resolution, "seconds": seconds, "provider": provider}
        command = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in given.items()
                           if value is not None and value != _DEFAULTS.get(name))
        flag = " --allow-contended" if allow_contended else ""
        raise RunInterrupted("stopped; the passes measured so far are kept; go on with: "
                             f"nas profile run {command}{flag}") from None


def _at_least_one(option: str, value: int) -> int:
    if value < 1:
        raise InputError(f"{option} {value}: at least 1")
    return value


def _precision(text: str) -> Precision:
    for known in get_args(Precision):
        if text == known:
            return cast(Precision, text)
    raise InputError(f"--precision {text}: one of {', '.join(get_args(Precision))}")


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
        (fit.held_out_by if fit.held_out else "held-out networks",
         f"{fit.test_count} networks: {_quality(fit.held_out)}" if fit.held_out else "none"),
        *((f"  {name} alone", _quality(found)) for name, found in fit.baselines.items()),
        *((f"  {name} cross-validated", _quality(found))
          for name, found in fit.cross_validation.items()),
        ("protocol", _protocol(profile.protocol)),
        ("repeats", _repeats(profile.validity)),
        ("memory", _memory(profile)),
        ("warnings", "; ".join(profile.validity.warnings) or "none"),
        *((("extrapolated", "; ".join(profile.validity.extrapolated)),)
          if profile.validity.extrapolated else ()),
    ]


def _row(name: str, profile: HardwareProfile | None, problem: str | None) -> dict[str, Any]:
    if profile is None:
        return {"name": name, "kind": "unusable", "space": problem or "", "runtime": "",
                "precision": "", "threads": 0, "within_10": 0.0, "created": ""}
    held_out = profile.calibration.held_out
    return {"name": name, "kind": profile.kind, "space": profile.space,
            "runtime": f"{profile.runtime.name} {profile.runtime.version}",
            "precision": profile.runtime.precision, "threads": profile.runtime.threads,
            "within_10": held_out.in10 if held_out else None,
            "created": f"{profile.created:%Y-%m-%d %H:%M}"}


def _formula(fit: Calibration) -> str:
    names = {CONSTANT: "", OWN_MS: " · (block − empty)"}
    return f"{fit.model}: " + " + ".join(
        f"{value:.4g}{names.get(name, f' · {name}')}" for name, value in fit.coefficients.items())


def _protocol(protocol: MeasureProtocol | None) -> str:
    if protocol is None:
        return "not measured"
    return (f"{protocol.statistic} by {protocol.timer}: {protocol.runs} runs after "
            f"{protocol.warm_up} for warm-up, {protocol.passes} to {protocol.max_passes} passes")


def _memory(profile: HardwareProfile) -> str:
    peaks = [net.timing.peak_bytes for net in profile.subnets if net.timing.peak_bytes is not None]
    if not peaks:
        return "not measured"
    return (f"peak of loading and running a network: {min(peaks):,} to {max(peaks):,} bytes over "
            f"{len(peaks)} networks")


def _repeats(validity: Validity) -> str:
    if validity.repeat_spearman is None or validity.repeat_difference is None:
        return "not measured"
    return (f"rank {validity.repeat_spearman:.3f}, median difference "
            f"{validity.repeat_difference:.1%}")


def _quality(quality: Quality) -> str:
    return (f"Spearman {quality.spearman:.3f}, MAPE {quality.mape:.1%}, bias {quality.bias:+.1%}, "
            f"{quality.in10:.0%} within 10 %, {quality.in5:.0%} within 5 %")

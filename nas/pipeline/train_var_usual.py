"""How a supernet that generates images is trained where a request says nothing, and its phases."""

import math
from dataclasses import dataclass
from typing import Any

from nas.core.errors import InputError
from nas.pipeline.train_request import TrainRequest
from nas.pipeline.train_var_options import PHASES
from supernets.training.trainer import TrainConfig
from supernets.var.config import VarConfig
from supernets.var.depth_schedule import Phase, fixed, progressive

WARM_UP = 0.03  # of the epochs
BETA2 = 0.95  # VAR's, of AdamW


@dataclass(frozen=True, kw_only=True, slots=True)
class UsualOfVar:
    """What a member of the family does; `VarOptions` has what each value is.

    Attributes:
        rate_of_256: Learning rate for batches of 256, in proportion to others.
        epochs: Of each of the phases.
    """

    rate_of_256: float
    vae_learning_rate: float
    epochs: tuple[float, float, float, float]
    subnet_p: float
    vae_epochs: int = 3
    vae_batch_size: int = 32
    shallow_depth: int = 4


# That of the shipped supernet, which starts from nothing and has two cores.
FMNIST = UsualOfVar(rate_of_256=6e-3, vae_learning_rate=2e-3, epochs=(2.0, 2.5, 1.5, 0.0),
                    subnet_p=0.3)
# VAR's rate, VARiant's phases. Neither says how the VQVAE was trained: rate and epochs are ours.
PUBLISHED = UsualOfVar(rate_of_256=1e-4, vae_learning_rate=2e-4, epochs=(0.0, 5.0, 15.0, 10.0),
                       subnet_p=0.2)

_BATCH = 64
_WEIGHT_DECAYS = {"adamw": 0.05, "sgd": 1e-4}
_SGD_RATE = 0.1


def usual_values(request: TrainRequest) -> dict[str, Any]:
    """Returns option → value, for the options that a request leaves open.

    Raises:
        InputError: Phases that are no whole number of epochs together, or a shallow depth without
            its phase.
    """
    usual = FMNIST if request.supernet == "var-fmnist" else PUBLISHED
    optimizer, batch = request.optimizer or "adamw", request.batch_size or _BATCH
    rates = {"adamw": usual.rate_of_256 * batch / 256, "sgd": _SGD_RATE}
    values = {"optimizer": optimizer, "batch_size": batch, "learning_rate": rates.get(optimizer),
              "weight_decay": _WEIGHT_DECAYS.get(optimizer), "clip_norm": 2.0, "ema_decay": 0.999}
    if request.vae is None:
        values |= {"vae_epochs": usual.vae_epochs, "vae_batch_size": usual.vae_batch_size,
                   "vae_learning_rate": usual.vae_learning_rate}
    values |= _phases(request, usual)
    found = {name: value for name, value in values.items() if getattr(request, name) is None}
    return {**found, "label_smoothing": 0.0}


def phases(request: TrainRequest, config: VarConfig) -> tuple[Phase, ...]:
    """Returns the phases of a training.

    Args:
        request: With usual values.
        config: Of the supernet.
    """
    if request.fixed_p is not None:
        assert request.epochs is not None
        return fixed(request.epochs, request.fixed_p)
    shallow, joint, transition, subnets = (getattr(request, name) for name in PHASES)
    assert request.subnet_p is not None
    assert request.shallow_depth is not None
    first = () if not shallow else (Phase(
        epochs=shallow, start=1.0, end=1.0, depths=(request.shallow_depth,),
        bridges=config.bridges[:1]),)
    return first + progressive(joint=joint, transition=transition, subnets=subnets,
                               p=request.subnet_p)


def vae_recipe(request: TrainRequest) -> TrainConfig:
    """Returns how the VQVAE is trained; `request` has usual values.

    Raises:
        InputError: See `TrainConfig`.
    """
    epochs, rate = request.vae_epochs, request.vae_learning_rate
    assert epochs is not None
    assert rate is not None
    return TrainConfig(epochs=epochs, learning_rate=rate, warmup_epochs=0.01 * epochs,
                       optimizer="adamw", beta2=BETA2, weight_decay=0.01, clip_norm=2.0,
                       ema_decay=0.998, seed=request.seed, checkpoint_s=request.checkpoint_s)


def _phases(request: TrainRequest, usual: UsualOfVar) -> dict[str, Any]:
    # Layers that know something already are not left out, nor does a net teach before it is run.
    skip = request.weights is not None or request.distill
    times = dict(zip(PHASES, ((0.0 if skip else usual.epochs[0]), *usual.epochs[1:]), strict=True))
    if request.fixed_p is not None:
        return {"epochs": round(sum(usual.epochs))}
    for name in PHASES:
        if (given := getattr(request, name)) is not None:
            times[name] = given
    total = sum(times.values())
    if total < 0.5 or not math.isclose(total, round(total)):
        said = " + ".join(f"--{name.replace('_', '-')} {time:g}" for name, time in times.items())
        raise InputError(f"{said} are {total:g} epochs; give phases that last a whole number "
                         "together, 1 or more")
    if request.shallow_depth is not None and not times["shallow_epochs"]:
        raise InputError(f"--shallow-depth {request.shallow_depth} is of a phase that lasts 0 "
                         "epochs; give --shallow-epochs, too")
    return {**times, "epochs": round(total), "subnet_p": usual.subnet_p,
            "shallow_depth": usual.shallow_depth}

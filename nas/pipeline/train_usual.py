"""What each family of supernets does where a request says nothing, and what trains by it."""

from nas.core.protocols import Supernet
from nas.pipeline.searched_front import read_front
from nas.pipeline.train_request import TrainRequest
from nas.pipeline.train_var_usual import BETA2, WARM_UP, usual_values
from nas.pipeline.usual import MOBILENET, PRETRAINED, SCRATCH, SPEECH, Usual, UsualOfImages
from supernets.training.data import Batches
from supernets.training.rules import RuleContext, make_rule
from supernets.training.sampling import SamplingRule
from supernets.training.trainer import TrainConfig

_WARM_UP = 0.03  # of the epochs of speech, at least one; data2vec's share of the steps


def with_usual_values(request: TrainRequest) -> TrainRequest:
    """Returns the request with the family's values for how to train where it has none.

    Raises:
        InputError: See `usual_values`.
    """
    if request.is_var:
        return request.model_copy(update=usual_values(request))
    usual: Usual = SPEECH if request.is_speech else MOBILENET
    if request.is_timm:
        usual = PRETRAINED if request.pretrained or request.weights is not None else SCRATCH
    optimizer = request.optimizer or usual.optimizer
    values = {"epochs": usual.epochs, "optimizer": optimizer,
              "rule": usual.rule, "clip_norm": usual.clip_norm,
              "learning_rate": usual.learning_rates.get(optimizer),
              "weight_decay": usual.weight_decays.get(optimizer)}
    if isinstance(usual, UsualOfImages):
        values["batch_size"] = usual.batch_size
    return request.model_copy(update={name: value for name, value in values.items()
                                      if getattr(request, name) is None})


def recipe(request: TrainRequest) -> TrainConfig:
    """Returns how to train.

    Args:
        request: With usual values, and at least one epoch.

    Raises:
        InputError: A name that is not known.
    """
    values = request.model_dump(include={
        "epochs", "optimizer", "schedule", "learning_rate", "weight_decay", "layer_decay",
        "label_smoothing", "teaching", "accumulation", "clip_norm", "ema_decay", "precision",
        "seed", "checkpoint_s"})
    # An optimizer that is not known has no usual values, and is refused by its name.
    known = {name: value for name, value in values.items() if value is not None}
    if request.is_timm:
        known["warmup_epochs"] = min(1.0, 0.1 * values["epochs"])
    if request.is_speech:
        known["warmup_epochs"] = min(max(1.0, _WARM_UP * values["epochs"]), 0.5 * values["epochs"])
    if request.is_var:
        known |= {"warmup_epochs": WARM_UP * values["epochs"], "beta2": BETA2}
    return TrainConfig(**known)


def sampling_rule(request: TrainRequest, config: TrainConfig, supernet: Supernet,
                  data: Batches) -> SamplingRule:
    """Returns which architectures a step runs.

    Raises:
        DataError: There are fewer images than a step takes.
        InputError: A front of another space.
    """
    assert request.rule is not None
    steps = config.epochs * max(1, data.checked_steps_per_epoch() // config.accumulation)
    codes = None if request.front is None else read_front(request.front).codes(supernet.space)
    return make_rule(request.rule, RuleContext(
        supernet=supernet, total_steps=steps, front=None if codes is None else lambda _step: codes))

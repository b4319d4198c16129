"""What must be equal for a training to go on, option by option, known before anything is read."""

from typing import Any

from nas.pipeline.design import TIMM
from nas.pipeline.searched_front import read_front
from nas.pipeline.train_request import OF_TIMM, TrainRequest
from supernets.timm.create import check_name, preprocessing_of
from supernets.timm.make import IMPORTANCE
from supernets.timm.weight_files import fingerprint

# Where images lie is not among them: the checkpoint knows the images themselves.
_FREE = frozenset(("data", "dataset", "download", "out", "workers", "tensorboard", "checkpoint_s"))
# What the usual values of others go by: where several differ, the first one is named.
_FIRST = ("supernet", "epochs", "pretrained", "weights", "optimizer")


def origin(request: TrainRequest) -> dict[str, Any]:
    """Returns option → value, as a user writes the option; of files what is in them counts.

    Args:
        request: With usual values.

    Raises:
        InputError: A timm model, a file or a run folder that does not exist.
    """
    values = request.model_dump(exclude=set(_FREE if request.is_timm else _FREE | set(OF_TIMM)))
    if request.is_timm:
        name = request.supernet.removeprefix(TIMM)
        check_name(name)
        values["image_size"] = request.image_size or preprocessing_of(name)["input_size"][-1]
        values["importance"] = request.importance or IMPORTANCE[0]
        values["resolutions"] = tuple(sorted(set(request.resolutions)))
        for option in ("weights", "teacher_weights"):
            if values[option] is not None:
                values[option] = fingerprint(values[option])
    if request.front is not None:
        values["front"] = read_front(request.front).described
    first = {name: values.pop(name) for name in _FIRST if name in values}
    return {f"--{name.replace('_', '-')}": value for name, value in {**first, **values}.items()}

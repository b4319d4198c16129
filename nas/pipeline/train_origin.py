"""What must be equal for a training to go on, option by option, known before anything is read."""

import hashlib
from pathlib import Path
from typing import Any

from nas.core.errors import InputError
from nas.pipeline.design import TIMM
from nas.pipeline.searched_front import read_front
from nas.pipeline.train_request import OF_CLASSIFIERS, OF_IMAGES, OF_TIMM, TrainRequest
from nas.pipeline.train_speech_options import OF_SPEECH
from nas.pipeline.train_var_options import OF_VAR, PHASES
from supernets.timm.create import check_name, preprocessing_of
from supernets.timm.make import IMPORTANCE
from supernets.timm.weight_files import fingerprint

# Where images or clips lie is not among them: the checkpoint knows these themselves.
_FREE = frozenset(("data", "dataset", "download", "out", "workers", "tensorboard", "checkpoint_s"))
# What the usual values of others go by: where several differ, the first one is named.
_FIRST = ("supernet", "first_epochs", "fixed_p", *PHASES, "epochs", "pretrained", "weights", "vae",
          "optimizer")
# Those that a VQVAE's training goes by, in the order in which they are compared.
OF_VQVAE = ("--supernet", "--vae-epochs", "--vae-batch-size", "--vae-learning-rate",
            "--vae-perceptual", "--seed")


def origin(request: TrainRequest) -> dict[str, Any]:
    """Returns option → value, as a user writes the option; of files what is in them counts.

    Options that are for other families are left out.

    Args:
        request: With usual values.

    Raises:
        InputError: A timm model, a file or a run folder that does not exist.
    """
    values = request.model_dump(exclude=_of_others(request) | _FREE)
    if request.is_timm:
        name = request.supernet.removeprefix(TIMM)
        check_name(name)
        values["image_size"] = request.image_size or preprocessing_of(name)["input_size"][-1]
        values["importance"] = request.importance or IMPORTANCE[0]
        values["resolutions"] = tuple(sorted(set(request.resolutions)))
        for option in ("weights", "teacher_weights"):
            if values[option] is not None:
                values[option] = fingerprint(values[option])
    if request.is_speech:
        for option, path in (("teacher", request.teacher), ("weights", request.weights)):
            values[option] = None if path is None else _described(option, Path(path))
    if request.is_var:
        if request.fixed_p is None:
            del values["epochs"]  # the sum of those of the phases
        values["vae_perceptual"] = request.vae_perceptual or None  # 0 is what no weight is
        for option, path in (("vae", request.vae), ("weights", request.weights)):
            values[option] = None if path is None else fingerprint(path)
    if request.front is not None:
        values["front"] = read_front(request.front).described
    first = {name: values.pop(name) for name in _FIRST if name in values}
    return {f"--{name.replace('_', '-')}": value for name, value in {**first, **values}.items()}


def _of_others(request: TrainRequest) -> set[str]:
    if request.is_speech:
        return {*OF_IMAGES, *OF_VAR}
    if request.is_var:
        return {*OF_CLASSIFIERS, *OF_SPEECH}
    return {*OF_SPEECH, *OF_VAR, *(() if request.is_timm else OF_TIMM)}


def _described(option: str, path: Path) -> str:
    # A teacher or checkpoint of speech is a file, or a folder of several.
    if path.is_file():
        return fingerprint(path)
    if not path.is_dir():
        raise InputError(f"--{option} {path} does not exist; give a file, or a folder that "
                         "save_pretrained wrote")
    digest = hashlib.sha256()
    for file in sorted(file for file in path.iterdir() if file.is_file()):
        digest.update(fingerprint(file).encode())
    return f"{path.name} (sha256 {digest.hexdigest()[:12]})"

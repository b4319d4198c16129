"""Teachers from files: Whisper's encoder, or a HuBERT in any of the ways that it is published."""

from pathlib import Path

import torch

from nas.core.errors import DataError
from supernets.hubert.checkpoint_files import read_checkpoint
from supernets.hubert.checkpoints import load_checkpoint
from supernets.hubert.folder import CONFIG, PREPROCESSOR, open_folder, read_config
from supernets.hubert.presets import BASE
from supernets.hubert.teacher import HubertTeacher, Teacher
from supernets.hubert.whisper import open_whisper

WHISPER_LAYERS, HUBERT_LAYERS = 2, 8  # the last ones, which are learnt where nothing is said


def open_teacher(path: Path, *, last: int | None = None,
                 device: str | torch.device = "cpu") -> Teacher:
    """Returns the teacher of a file or folder.

    Args:
        path: A safetensors file with the keys of a WhisperEncoder (see `open_whisper`); a folder of
            transformers' HubertModel or of an encoder of this project (`save_folder`), or a file
            beside its ``config.json``; or a checkpoint of LightHuBERT or fairseq, of which the
            largest network teaches.
        last: Layers that are learnt; None: `WHISPER_LAYERS` or `HUBERT_LAYERS`.
        device: Of the teacher.

    Raises:
        DataError: It is missing, damaged, or a file of something else.
        InputError: transformers is not installed, or the teacher has fewer layers.
    """
    if not path.exists():
        raise DataError(f"teacher {path} does not exist; give a safetensors file of Whisper's "
                        "encoder, a folder of transformers' HubertModel, or a checkpoint of "
                        "LightHuBERT or fairseq")
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or (path.suffix in (".safetensors", ".bin") and (folder / CONFIG).is_file()):
        model = open_folder(folder)
        normalise = _normalises(folder)
    elif path.suffix == ".safetensors":
        return open_whisper(path, last=last or WHISPER_LAYERS, device=str(device))
    else:
        # A stage-1 model or a HuBERT of fairseq says no space; the largest of base is all of it.
        net = load_checkpoint(path, read_checkpoint(path).space or BASE)
        model = net.extract(net.space.extreme(largest=True))
        normalise = True
    return HubertTeacher(model.eval().to(device), last=last or HUBERT_LAYERS, normalise=normalise)


def _normalises(folder: Path) -> bool:
    # A folder that does not say it is taken as transformers' feature extractor does by default.
    if not (folder / PREPROCESSOR).is_file():
        return True
    return bool(read_config(folder / PREPROCESSOR).get("do_normalize", True))

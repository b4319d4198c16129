"""What benchmarks of exported speech encoders share: the files, and speech to run them on."""

from pathlib import Path

import numpy as np
import soundfile
from _prompts import PROMPTS, prompts

from nas.core.arch import Arch
from nas.core.protocols import Supernet, signature_of
from nas.core.rng import derive_rng
from nas.export.onnx import export_onnx
from supernets.tasks.waves import SAMPLE_RATE, Wave


def export(net: Supernet, arch: Arch, folder: Path) -> bytes:
    """Returns a network's ONNX file, which is kept in a folder by its digest."""
    path = folder / f"{arch.digest}.onnx"
    if not path.is_file():
        names = signature_of(net.task)
        example = net.task.example_inputs(2, derive_rng(0, "export")).cpu()
        export_onnx(net.extract(arch).cpu().eval(), example, path, input_name=names.input,
                    metadata=net.task.onnx_metadata(), output_names=(names.output,),
                    axes=names.axes)
    return path.read_bytes()


def speech(file: Path | None, seconds: float) -> Wave:
    """Returns the beginning of a recording of 16 kHz; without one, of Italian prompts."""
    wanted = round(seconds * SAMPLE_RATE)
    if file is None:
        wave_S = np.concatenate(prompts(PROMPTS, "it")[:30])
    else:
        wave_S, rate = soundfile.read(file, dtype="float32")
        if rate != SAMPLE_RATE or wave_S.ndim != 1:
            raise SystemExit(f"{file} is not one channel of {SAMPLE_RATE} Hz")
    if len(wave_S) < wanted:
        raise SystemExit(f"{file or PROMPTS} has less than {seconds:g} s of speech")
    return wave_S[:wanted]

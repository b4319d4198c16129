"""The use-case of `nas train`: a folder of images or of speech → a supernet folder."""

from contextlib import nullcontext
from pathlib import Path

from nas.core.errors import DiskError, InputError, RunInterrupted
from nas.core.files import os_error_line, partial_file
from nas.core.locks import LOCK, locked
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.train_origin import origin
from nas.pipeline.train_request import TrainRequest as TrainRequest
from nas.pipeline.train_request import make_request as make_request
from nas.pipeline.train_usual import recipe, with_usual_values
from supernets.card import CARD
from supernets.timm.stored import READABLE
from supernets.training.checkpoint import Checkpoint


def train(request: TrainRequest, *, watch: Watcher = silent) -> Path:
    """Trains a supernet and returns its folder; a stopped run goes on from its checkpoint.

    A finished one that is asked for again is written anew, which is told.

    Raises:
        InputError: Unknown supernet, unusable data or weights, or `out` holds something else, a
            training with other options, or is being trained by another process.
        EvaluationError: A loss that is not finite, or not enough memory.
        DiskError: A file cannot be written.
        RunInterrupted: Ctrl-C.
    """
    _check_out(request)
    request = with_usual_values(request)
    if request.epochs:
        recipe(request)  # fails before anything is read
    options = origin(request)
    for path in request.checkpoints:
        Checkpoint(path=path, identity=options).check()
    finished = request.checkpoint.is_file() and (request.out / CARD).is_file()
    if request.is_timm:
        from nas.pipeline.train_timm import prepare
    elif request.is_speech:
        from nas.pipeline.train_speech import prepare
    elif request.is_var:
        from nas.pipeline.train_var import prepare
    else:
        from nas.pipeline.train_mobilenet import prepare
    try:
        job = prepare(request, options, watch)
        request.out.mkdir(parents=True, exist_ok=True)
        first = job.processes.is_first
        with locked(request.out, "training") if first else nullcontext(), job.threads():
            job.run()
            if first:
                job.save()
    except KeyboardInterrupt:
        raise RunInterrupted(f"training stopped; the same command goes on from the checkpoint in "
                             f"{request.out}") from None
    except OSError as error:
        raise DiskError(f"{os_error_line(error)}; remedy that, and the same command goes on from "
                        f"the checkpoint in {request.out}") from None
    if finished:
        watch(Event("finished", 1, 1, f"{request.out} was trained already, with these options"))
    return request.out


def _check_out(request: TrainRequest) -> None:
    out = request.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give --out a folder")
    files = (*request.checkpoints, *request.prepared.values())
    # Of a training stopped before its first checkpoint.
    ours = {LOCK, READABLE, partial_file(out / READABLE).name, request.log_folder.name,
            *(partial_file(path).name for path in files)}
    if request.is_speech:
        ours.add(request.targets_folder.name)
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if found - ours and not any(path.is_file() for path in files):
        raise InputError(f"{out} exists and holds no training to resume; give another --out")

"""Keeps Ray Tune from writing what outcomes and the ledger say."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Tune reads these as an experiment begins.
_VARIABLES = {
    "RAY_AIR_NEW_OUTPUT": "0",  # else it prints tables even where it is to be silent
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a training that fails has no metrics
}


@contextmanager
def quiet() -> Iterator[None]:
    """Silences experiments that run meanwhile; variables that the user has set stay."""
    added = {name: value for name, value in _VARIABLES.items() if name not in os.environ}
    logger = logging.getLogger("ray.tune")
    level = logger.level
    os.environ.update(added)
    logger.setLevel(logging.CRITICAL)  # a worker that dies is an error to it, with a traceback
    try:
        yield
    finally:
        logger.setLevel(level)
        for name in added:
            os.environ.pop(name, None)

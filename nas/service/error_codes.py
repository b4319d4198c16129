"""Errors for programs: a code that never changes with the wording."""

import re

from nas.core.errors import NasError


def code_of(error: NasError) -> str:
    """Returns the error's own code, or its class in snake case: ``ConstraintError``, constraint."""
    own = getattr(error, "code", None)
    if own is not None:
        return str(own)
    return re.sub(r"(?<=.)([A-Z])", r"_\1", type(error).__name__.removesuffix("Error")).lower()

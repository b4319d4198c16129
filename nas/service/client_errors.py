"""What a client raises: an answer of the server, or none, as an error of the project."""

from functools import cache

from nas.core import errors
from nas.core.errors import InputError, NasError
from nas.service.error_codes import code_of


class ServerError(NasError):
    """A server that cannot be reached, that cannot help now, or that is none of ours."""


class Refused(InputError):
    """A request that the server refuses.

    Attributes:
        code: What is wrong with it, for programs.
        status: Of HTTP.
    """

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class JobFailed(NasError):
    """A job that ended in an error which only the server knows.

    Attributes:
        code: What went wrong, for programs.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


def error_of_job(code: str, message: str) -> NasError:
    """Returns the error that the same work would have raised here."""
    known = _known().get(code)
    return known(message) if known else JobFailed(message, code=code)


def error_of_refusal(code: str, message: str, *, status: int) -> NasError:
    """Returns the error of a request that was refused: as here, where it has one here."""
    known = _known().get(code)
    if known and issubclass(known, InputError):
        return known(message)
    return Refused(message, code=code, status=status)


@cache
def _known() -> dict[str, type[NasError]]:
    kinds = (value for value in vars(errors).values() if isinstance(value, type))
    return {code_of(kind("")): kind for kind in kinds if issubclass(kind, NasError)}

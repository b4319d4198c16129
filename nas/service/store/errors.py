"""What goes wrong between a request and the store, with the status and code for HTTP."""

from nas.core.errors import NasError


class ServiceError(NasError):
    """A request that the service does not meet.

    Attributes:
        code: For programs; never changes with the wording.
        status: Of HTTP.
    """

    code = "service"
    status = 500


class QueueFull(ServiceError):
    """As many jobs wait as may.

    Attributes:
        retry_after_s: When to try again.
    """

    code = "queue_full"
    status = 429

    def __init__(self, message: str, *, retry_after_s: int = 30) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StateError(ServiceError):
    """A job in a state that the request makes no sense in."""

    code = "wrong_state"
    status = 409


class KeyReused(ServiceError):
    """An Idempotency-Key that came with another job before."""

    code = "key_reused"
    status = 409


class NoJob(ServiceError):
    """There is no job of that id."""

    code = "no_such_job"
    status = 404


class DatabaseAway(ServiceError):
    """The database does not answer now; later it may."""

    code = "database_away"
    status = 503

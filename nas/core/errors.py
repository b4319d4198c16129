"""Every error of the project: one line that names the cause and the remedy.

The command line prints ``str(error)`` and exits with ``error.exit_code``.
"""


class NasError(Exception):
    """A run that failed. Base class of all errors raised on purpose."""

    exit_code = 1


class InputError(NasError):
    """What the caller gave is wrong: an option, a name, a file."""

    exit_code = 2


class ArchError(InputError):
    """A value that is no architecture of the space it claims to be of."""


class SpaceError(InputError):
    """A search space whose declaration contradicts itself."""


class UnknownNameError(InputError):
    """A name that no registry entry has."""


class ConstraintError(InputError):
    """Constraints that no architecture meets."""


class DataError(InputError):
    """A data set, an image file or a weights file that cannot be used."""


class ProfileError(InputError):
    """A hardware profile that is missing, unreadable or of another space."""


class MeasurementError(NasError):
    """A measurement that was made and cannot be trusted."""


class DiskError(NasError):
    """A file that could not be read or written; what had been written before is whole."""


class ExportError(NasError):
    """A bundle that could not be written or does not pass its checks."""


class LedgerError(InputError):
    """A study that is unreadable or belongs to another run."""


class EvaluationError(NasError):
    """An evaluation that gave no usable metrics."""


class RunInterrupted(NasError):
    """Long work that was stopped by hand; what had finished is kept."""

    exit_code = 130

"""What an export is asked to add to a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Extras:
    """Files that a bundle has beside those of every bundle.

    Attributes:
        int8: Whether to add the int8 file.
        calibration: Images that its ranges come from: see `nas.pipeline.calibration`.
        features: Whether to add the feature file.
        indices: Of the stages in it, as timm counts them; None for all.
        example: What the script that runs the network takes, ``"wav"``; None for no script.

    Raises:
        InputError: Images or stages for a file that is not asked for, or another example.
    """

    int8: bool = False
    calibration: Path | None = None
    features: bool = False
    indices: Sequence[int] | None = None
    example: str | None = None

    def __post_init__(self) -> None:
        if self.calibration is not None and not self.int8:
            raise InputError("--calibration is for --precision int8; give both or none")
        if self.indices is not None and not self.features:
            raise InputError("--out-indices is for --features; give both or none")
        if self.example not in (None, "wav"):
            raise InputError(f"--example {self.example}: there is one that takes a wav file; give "
                             "--example wav")

    @property
    def any(self) -> bool:
        """Whether there is something to add."""
        return self.int8 or self.features or self.example is not None

"""What only a supernet of speech can be told."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from supernets.hubert.batches import LEARN
from supernets.registry import SUPERNETS


class SpeechOptions(BaseModel):
    """How a supernet of speech learns from its teacher.

    Attributes:
        first_epochs: Passes over the speech in stage 1, which trains the largest network alone; 0
            to train all from the start.
        batch_seconds: Speech of a batch, padding included.
        teacher_layers: Last layers of the teacher that are learnt; None:
            `supernets.hubert.open_teacher` says how many.
        instance_norm: See `supernets.hubert.targets.averaged`.
        learn: See `supernets.hubert.batches.SpeechBatches`.
        mask_prob: `supernets.hubert.masking.SpanMasking.prob`; 0 to mask nothing, None for 0.65
            where masked frames are learnt and 0 where all are.
        resample: Whether other sample rates than 16 kHz are resampled, not refused.
        seconds: Of the windows that are validated on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    first_epochs: int = Field(default=40, ge=0)
    batch_seconds: float = Field(default=30.0, gt=0)
    teacher_layers: int | None = Field(default=None, ge=1)
    instance_norm: bool = True
    learn: str = LEARN[0]
    mask_prob: float | None = Field(default=None, ge=0, le=1)
    resample: bool = False
    seconds: float = Field(default=1.0, gt=0)

    @field_validator("learn")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in LEARN:
            raise ValueError(f"it is none of {', '.join(LEARN)}")
        return value

    def check_stages(self, supernet: str, teacher: str | None, epochs: int | None) -> None:
        """Checks what a supernet of speech needs.

        Raises:
            ValueError: There is no teacher or no stage, or nothing that is learnt.
        """
        if teacher is None:
            raise ValueError(f"{supernet} learns what a teacher says of speech; give one: "
                             "--teacher FILE, such as Whisper's encoder or a HuBERT")
        if epochs == 0 and self.first_epochs == 0:
            raise ValueError("--first-epochs 0 --epochs 0: neither stage trains; give one of them "
                             "1 or more")
        if self.learn == "masked" and self.mask_prob == 0:
            raise ValueError("--mask-prob 0: only masked frames are learnt, and none is masked; "
                             "mask some, or give --learn all")


OF_SPEECH = tuple(SpeechOptions.model_fields)


def is_speech(supernet: str) -> bool:
    """Returns whether a registered supernet is a HuBERT."""
    return any(entry.name == supernet and entry.info.get("family") == "hubert"
               for entry in SUPERNETS.entries)

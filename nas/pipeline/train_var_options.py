"""What only a supernet that generates images can be told."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from supernets.registry import SUPERNETS
from supernets.var.depth_schedule import DRAWS

PHASES = ("shallow_epochs", "joint_epochs", "transition_epochs", "subnet_epochs")


class VarOptions(BaseModel):
    """How a VQVAE is trained, and which depth of the transformer each step.

    What is None takes the supernet's usual value; numbers of epochs need not be whole.

    Attributes:
        vae: File of a VQVAE that is trained already; None to train one.
        vae_epochs: Passes over the images for the VQVAE.
        vae_batch_size: Images of its batches.
        vae_learning_rate: Its peak.
        vae_perceptual: Weight of the maps of the classifier in its loss, see
            `supernets.var.vae_training.VaeLoss`; None for 0.
        shallow_epochs: Passes of a first phase that trains `shallow_depth` layers alone, which is
            cheap; the others see the first scale alone.
        shallow_depth: Layers of every scale but the first in that phase.
        joint_epochs: Passes of VARiant's first phase (arXiv 2511.16546), in which a share of the
            steps trains a subnet, the others the whole net.
        transition_epochs: Passes of the second one, in which that share rises to all.
        subnet_epochs: Passes of the third one, which trains subnets alone.
        subnet_p: The share in the joint phase.
        fixed_p: The share in one phase of `TrainRequest.epochs`, in place of all others.
        depth_draw: `supernets.var.depth_schedule.DepthSchedule.draw`, but for the first phase.
        distill: Whether the whole net runs in a subnet's step too, and teaches it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    vae: Path | None = None
    vae_epochs: int | None = Field(default=None, ge=1)
    vae_batch_size: int | None = Field(default=None, ge=1)
    vae_learning_rate: float | None = Field(default=None, gt=0)
    vae_perceptual: float | None = Field(default=None, ge=0)
    shallow_epochs: float | None = Field(default=None, ge=0)
    shallow_depth: int | None = Field(default=None, ge=2)
    joint_epochs: float | None = Field(default=None, ge=0)
    transition_epochs: float | None = Field(default=None, ge=0)
    subnet_epochs: float | None = Field(default=None, ge=0)
    subnet_p: float | None = Field(default=None, ge=0, le=1)
    fixed_p: float | None = Field(default=None, ge=0, le=1)
    depth_draw: str = DRAWS[0]
    distill: bool = False

    @field_validator("depth_draw")
    @classmethod
    def _drawn(cls, value: str) -> str:
        if value not in DRAWS:
            raise ValueError(f"it is none of {', '.join(DRAWS)}")
        return value

    def check_phases(self, *, epochs: int | None, weights: Path | None, teaching: float) -> None:
        """Checks options that only make sense together, or only apart.

        Raises:
            ValueError: Such ones.
        """
        of_vqvae = self.given("vae_epochs", "vae_batch_size", "vae_learning_rate",
                              "vae_perceptual")
        if self.vae is not None and of_vqvae:
            raise ValueError(f"--vae is a VQVAE that is trained already, and {of_vqvae[0]} is for "
                             "training one; give one of both")
        if weights is not None and self.vae is None:
            raise ValueError(f"--weights {weights} know the codes of one VQVAE; give it, too: "
                             "--vae FILE (it may be the same file, if that is of VAR's trainer)")
        of_phases = self.given(*PHASES, "shallow_depth", "subnet_p")
        if self.fixed_p is not None and of_phases:
            raise ValueError(f"--fixed-p is one phase of --epochs, and {of_phases[0]} is of "
                             "several; give one of both")
        if self.fixed_p is None and epochs is not None:
            raise ValueError("--epochs is how long --fixed-p lasts; give that, too, or the epochs "
                             "of each phase: --joint-epochs, --transition-epochs, --subnet-epochs")
        if teaching != 1.0 and not self.distill:
            raise ValueError(f"--teaching {teaching:g} is the share of what the whole net teaches; "
                             "let it teach: --distill")

    def given(self, *names: str) -> list[str]:
        """Returns those of these options that have a value, as a user writes them."""
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


OF_VAR = tuple(VarOptions.model_fields)


def is_var(supernet: str) -> bool:
    """Returns whether a registered supernet is a VAR."""
    return any(entry.name == supernet and entry.info.get("family") == "var"
               for entry in SUPERNETS.entries)

"""A budget as users write it: a number, or a percentage of the unpruned network."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

_SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9}
_TOO_MUCH = "over 100 % of the unpruned network there is nothing to prune; give less"


class Amount(BaseModel):
    """How much.

    Attributes:
        value: The number, or the share of the unpruned network.
        is_share: Which of both.
        text: As it was written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float = Field(gt=0)
    is_share: bool
    text: str

    @model_validator(mode="after")
    def _is_less(self) -> "Amount":
        if self.is_share and self.value > 1.0:
            raise ValueError(_TOO_MUCH)
        return self

    def of(self, whole: float) -> float:
        """Returns the number for an unpruned network that costs `whole`."""
        return self.value * whole if self.is_share else self.value


def amount(value: Any) -> Any:
    """Returns the amount of ``"60%"``, ``"25M"``, ``"1.2e7"`` or a number.

    Raises:
        ValueError: It is none, or more than 100 %.
    """
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return value
    text = str(value).strip().replace("_", "").replace(",", "")
    is_share = text.endswith("%")
    number, factor = text.removesuffix("%").strip(), 0.01 if is_share else 1.0
    if not is_share and number[-1:] in _SUFFIXES:
        number, factor = number[:-1], _SUFFIXES[number[-1]]
    try:
        found = float(number) * factor
    except ValueError:
        raise ValueError("give a number, or a percentage of the unpruned network such as 60%"
                         ) from None
    if not 0 < found < float("inf"):
        raise ValueError("a budget must be more than 0, and finite")
    if is_share and found > 1.0:
        raise ValueError(_TOO_MUCH)
    return Amount(value=found, is_share=is_share, text=text)

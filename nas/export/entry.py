"""What the entries of a manifest have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt

Count = Annotated[StrictInt, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Frozen(BaseModel):
    """A value that knows its fields and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

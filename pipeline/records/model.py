"""The base of everything that a user writes down: frozen, typed, unknown keys refused."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of every part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

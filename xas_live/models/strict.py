"""The base of what cards and recipes are made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen pydantic model that refuses entries it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

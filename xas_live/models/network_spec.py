"""The shape of a network, as cards and recipes state it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xas_live.models.strict import Strict


class NetworkSpec(Strict):
    """Shape of one ensemble member, and how many there are.

    Attributes
    ----------
    kind : a multilayer perceptron, or a one-dimensional convolutional network.
    kernels, kernel_width : of the convolutional layers, one number of kernels a layer; none for "mlp".
    hidden : sizes of the dense layers before the last.
    activation : after every layer but the last.
    """

    kind: Literal["mlp", "cnn"] = "mlp"
    kernels: tuple[Annotated[int, Field(ge=1)], ...] = ()
    kernel_width: Annotated[int, Field(ge=1)] = 1
    hidden: tuple[int, ...]
    activation: Literal["tanh", "relu"] = "tanh"
    members: Annotated[int, Field(ge=1)]
    source: str = ""

    @model_validator(mode="after")
    def _kernels_fit_the_kind(self) -> NetworkSpec:
        if bool(self.kernels) != (self.kind == "cnn"):
            raise ValueError(f"kernels = {list(self.kernels)} do not fit kind = {self.kind!r}")
        return self

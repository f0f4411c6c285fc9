"""Networks of exported diffusers folders: what `text2latent.models.network` is to this package, in diffusers' terms."""

from __future__ import annotations

from typing import Any

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin


class Network(ModelMixin, ConfigMixin):
    """A model of diffusers' that knows the arguments that it was made with."""

    config_name = "config.json"  # type: ignore[assignment]  # diffusers declares it as None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", register_to_config(vars(cls)["__init__"]))  # noqa: B010

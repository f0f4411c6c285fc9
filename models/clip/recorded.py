"""The CLIP that a record names, loaded as it was when the record was written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from text2latent.models.clip.arguments import is_arguments_alone
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.sources.identity import Identity
from text2latent.models.sources.whereabouts import load_recorded


def load_clip(named: str | Mapping[str, Any] | None, recorded: Identity, flag: str = "--clip") -> ClipEncoder:
    """The CLIP that a user names, else the one of a record, for which no code is imported.

    Args:
        named: as `named_clip` gives it: a source, a mapping with one, or arguments alone, which are taken besides those
            of the record.
        recorded: what the record says.
        flag: that says where it is, for messages.

    Raises:
        InputError: when it isn't there any more; also whatever `ClipEncoder.from_pretrained` raises.
    """
    if named is not None and not is_arguments_alone(named):
        return ClipEncoder.from_pretrained(named)
    more = named["arguments"] if isinstance(named, Mapping) else {}
    load = partial(ClipEncoder.from_pretrained, arguments={**recorded.arguments, **more}, allow_import=False)
    return load_recorded(load, recorded, "CLIP", flag)

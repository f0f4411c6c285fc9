"""Any open_clip model behind one small face: prompts and images in [-1, 1] go in, unit vectors come out.

open_clip (and with it torchvision and timm) takes seconds to import, so it is imported where it is first needed: for
models that `text2latent.models.clip.clip` doesn't know.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from text2latent.common.prompt_text import check_prompt, shortened
from text2latent.models.acceleration import Run, directly
from text2latent.models.clip.parts import load_clip_parts
from text2latent.models.clip.saving import build_clip, save_hub_folder
from text2latent.models.clip.text_tower import project
from text2latent.models.colours import MODES, to_rgb
from text2latent.models.sources.identity import Identity

__all__ = ["ClipEncoder", "build_clip", "encode_tokens", "save_hub_folder", "trim_tokens"]


def trim_tokens(tokens: Tensor) -> Tensor:
    """Cut a batch of CLIP tokens `[N, L]` behind its last end-of-text token (the highest id of each row)."""
    return tokens[:, : int(tokens.argmax(dim=-1).max()) + 1]


def encode_tokens(model: Any, tokens: Tensor) -> Tensor:
    """Text features of an open_clip model, computed only up to the longest text where the tower allows it.

    open_clip always runs the full context. Where attention is causal and the end-of-text token is pooled, what comes
    behind that token cannot reach the result, so it is left out: the same features for a fraction of the work.

    Args:
        model: an open_clip model.
        tokens: int64 `[N, L]` from its tokenizer, padded to its context length or trimmed.

    Returns:
        Features `[N, D]`, not normalised, differentiable.
    """
    return _encode_trimmed(model, trim_tokens(tokens) if _is_causal(_tower(model)) else tokens)


def _tower(model: Any) -> Any:
    return getattr(model, "text", model)


def _encode_trimmed(model: Any, tokens: Tensor) -> Tensor:
    """As `encode_tokens`, of tokens that have been trimmed as far as they are to be."""
    tower = _tower(model)
    if not _is_causal(tower):
        return model.encode_text(tokens)
    length = tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
    pooled = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)]
    return project(tower.text_projection, pooled)


def _is_causal(tower: nn.Module) -> bool:
    pool_type = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
    causal = isinstance(getattr(tower, "attn_mask", None), Tensor)
    return causal and pool_type == "argmax" and getattr(tower, "cls_emb", None) is None


class ClipEncoder(nn.Module):
    """An open_clip model with its tokenizer and preprocessing; frozen and in evaluation mode.

    Args:
        model: an open_clip model whose `visual.preprocess_cfg` is set, as open_clip does on creation.
        tokenizer: turns a list of texts into int64 tokens `[N, context_length]`.
        identity: whose weights these are; None for random weights.
        own_prompts: file of the prompts that came with them; None for none.

    Attributes:
        embedding_dim: D, the length of an embedding.
        context_length: how many tokens of a text are read.
        padding_token: id of the token behind the end of a short text.
        run: calls the towers where no gradients are needed, see `models.acceleration`.

    Raises:
        InputError: when the preprocessing is of a kind that open_clip does not know.
    """

    run: Run = staticmethod(directly)

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[..., Tensor],
        identity: Identity | None = None,
        own_prompts: Path | None = None,
    ) -> None:
        from text2latent.models.clip.preprocessing import Preprocessing

        super().__init__()
        self.model: Any = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.tokenizer = tokenizer
        self.identity = identity
        self.own_prompts = own_prompts
        self.preprocess = Preprocessing.from_config(model.visual.preprocess_cfg)
        self.context_length = int(getattr(tokenizer, "context_length", 77))
        self.padding_token = _padding_token(tokenizer)
        self.embedding_dim = self.encode_text(["size"]).shape[-1]

    @classmethod
    def from_pretrained(
        cls,
        source: str | Mapping[str, Any],
        arguments: Mapping[str, Any] | None = None,
        allow_import: bool = True,
    ) -> ClipEncoder:
        """Load a CLIP model with its weights in float32, on the CPU.

        Args:
            source: one of

                - a name of the zoo;
                - a folder in open_clip's hub layout (with or without `local-dir:`), the hub's cache folder of one
                  (`models--ORG--NAME`), or its `hf://ORG/REPO[/PATH][@REVISION]`; a hub id, `hf-hub:ORG/NAME`;
                - `MODEL/PRETRAINED` with open_clip's names, where PRETRAINED may also be a weights file or its address
                  (`ViT-B-32/openai`, `ViT-B-32/weights.safetensors`), a checkpoint of training too;
                - a file of OpenAI's own, such as `ViT-B-32.pt`, which says all of itself;
                - a folder of the transformers library, its `hf://` id or its folder in the hub's cache;
                - a class path `my_package.MyClip`, a mapping `{class_path: ..., init_args: {...}}`, or a YAML file of
                  one: that class, a subclass of `ClipModel`, is imported;
                - a mapping `{source: ..., arguments: {...}}`.
            arguments: what its files don't say, see `text2latent.models.clip.arguments.ClipArguments`.
            allow_import: whether a class path is imported. False for sources that a file names rather than the user.

        Raises:
            UsageError: when the source is none of these, or leaves something open that decides the embeddings.
            InputError: when its files are missing, damaged, of another architecture, or cannot be downloaded.
        """
        parts = load_clip_parts(source, arguments, allow_import)
        return cls(parts.model, parts.tokenizer, parts.identity, parts.own_prompts)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    def encode_text(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Embed texts: float32 `[N, D]` of unit length, on the model's device.

        A text longer than the context is cut, with a warning that names it.

        Raises:
            UsageError: for a text that `check_prompt` refuses.
        """
        return self.encode_checked([check_prompt(text) for text in texts], batch_size)

    def encode_checked(self, texts: Sequence[str], batch_size: int = 256, normalized: bool = True) -> Tensor:
        """As `encode_text`, for texts that `check_prompt` has passed.

        Without `normalized` embeddings keep the length that the model gives them.
        """
        batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
        with torch.inference_mode():
            embeddings = [self._encode_texts(batch, normalized) for batch in batches]
        # A tensor made in inference mode may not take part in a loss; one that is put together outside may.
        return torch.cat(embeddings) if embeddings else torch.empty(0, self.embedding_dim, device=self.device)

    def _encode_texts(self, texts: Sequence[str], normalized: bool) -> Tensor:
        tokens = self.read_tokens(texts)
        if self.run is directly and _is_causal(_tower(self.model)):
            # Before they are sent: looking at what is on the device would wait for it. A graph needs one length.
            tokens = trim_tokens(tokens)
        return self.run(self._encode_trimmed, tokens.to(self.device), normalized=normalized)

    def _encode_trimmed(self, tokens: Tensor, normalized: bool) -> Tensor:
        features = _encode_trimmed(self.model, tokens).float()
        return normalize(features, dim=-1) if normalized else features

    def encode_tokens(self, tokens: Tensor, normalized: bool = True) -> Tensor:
        """Embed tokens `[N, context_length]` of `tokenize`: float32 `[N, D]` of unit length; differentiable.

        Without `normalized` embeddings keep the length that the model gives them.
        """
        features = encode_tokens(self.model, tokens).float()
        return normalize(features, dim=-1) if normalized else features

    def encode_image(self, images: Tensor, batch_size: int = 256, normalized: bool = True) -> Tensor:
        """Embed images `[N, C, H, W]` in [-1, 1]: float32 `[N, D]` of unit length, on the model's device.

        C is 3, or that of another kind of `colours.MODES`: grey is repeated, and what has alpha is laid on white.
        Without `normalized` embeddings keep the length that the model gives them.
        Differentiable with respect to the images. At most `batch_size` of them are in the network at once. Under
        `torch.autocast` it runs in that dtype (bfloat16 is about twice as fast on CPUs that know it).

        Raises:
            ValueError: for another shape or for integers.
        """
        if images.ndim != 4 or images.shape[1] not in MODES or not images.is_floating_point():
            found = f"{images.dtype} {list(images.shape)}"
            raise ValueError(f"images: expected floats [N, 3, H, W] in [-1, 1], or of 1, 2 or 4 channels, got {found}")
        if not len(images):
            return torch.empty(0, self.embedding_dim, device=self.device)
        batches = images.to(self.device).split(batch_size)
        features = torch.cat([self.run(self._encode_batch, batch) for batch in batches])
        return normalize(features, dim=-1) if normalized else features

    def _encode_batch(self, images: Tensor) -> Tensor:
        pixels = self.preprocess(to_rgb(images.float()))
        pixels = pixels.to(next(self.model.parameters()).dtype)
        features: Tensor = self.model.encode_image(pixels.contiguous(memory_format=torch.channels_last))
        return features.float()

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Tokens of texts, int64 `[N, context_length]` on the model's device; warns of each text that is cut."""
        return self.read_tokens(texts).to(self.device)

    def read_tokens(self, texts: Sequence[str]) -> Tensor:
        """As `tokenize`, on the CPU."""
        tokens = self.tokenizer(list(texts))
        # The end-of-text token of some models is their padding, so that the last token alone doesn't show it.
        full = tokens[:, -2:].ne(self.padding_token).any(dim=1)
        for text in (text for text, is_full in zip(texts, full.tolist(), strict=True) if is_full):
            self._warn_if_cut(text)
        return tokens

    def compile_parts(self) -> None:
        """Have `torch.compile` compile both towers, once they are called."""
        self.model.visual.compile()
        transformer = getattr(_tower(self.model), "transformer", None)
        if transformer is not None:
            transformer.compile()

    def _warn_if_cut(self, text: str) -> None:
        normalize = getattr(self.tokenizer, "normalize", str)
        count = _count_tokens(self.tokenizer, normalize(text))
        if count > self.context_length:
            warnings.warn(
                f"prompt {shortened(text)} has {count} tokens; this CLIP model reads the first {self.context_length}",
                stacklevel=5,
            )


def _padding_token(tokenizer: Any) -> int:
    """Id that fills the rows of short texts; 0 is that of open_clip's own tokenizer."""
    return int(tokenizer.tokenizer.pad_token_id or 0) if hasattr(tokenizer, "tokenizer") else 0


def _count_tokens(tokenizer: Any, text: str) -> int:
    """Length of a text in tokens, with all special ones, before any cut."""
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + 2
    # In this mode of open_clip start, end and, behind the padding, class are added to what the tokenizer gives.
    own_specials = getattr(tokenizer, "tokenizer_mode", "") == "clips"
    cleaned = getattr(tokenizer, "clean_fn", str)(text)
    ids = tokenizer.tokenizer(cleaned, add_special_tokens=not own_specials, verbose=False)["input_ids"]
    return len(ids) + (3 if own_specials else 0)

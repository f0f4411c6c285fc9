"""CLIP's tokenizer: byte-pair encoding of lower-case text, with the vocabulary that lies in open_clip's package.

The encoding is that of Sennrich et al., "Neural machine translation of rare words with subword units"
(arXiv:1508.07909), on bytes as in Radford et al., "Language models are unsupervised multitask learners" (2019),
section 2.2. open_clip's own `SimpleTokenizer` gives the same tokens; to import it is to import all of open_clip.
"""

from __future__ import annotations

import functools
import gzip
import html
import importlib.util
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
NUM_MERGES = 48894
"""Pairs of the vocabulary's file that CLIP uses, from its second line on: with all bytes and the specials, 49408."""
CONTEXT_LENGTH = 77
"""Tokens of a text where a config doesn't say."""
SPECIALS = ("<start_of_text>", "<end_of_text>")
WORD_END = "</w>"
WORDS = r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What counts as a word besides the special tokens: English endings, letters, single digits, other characters."""
NEVER = NUM_MERGES
"""Rank of pairs that are not merged."""
MOST_CACHED = 2**16
"""Words whose tokens are remembered."""


def find_vocabulary() -> Path | None:
    """The vocabulary of the installed open_clip, which isn't imported for it; None where it isn't there."""
    package = importlib.util.find_spec("open_clip")
    places = [Path(place) / VOCABULARY for place in (package.submodule_search_locations or ())] if package else []
    return next((place for place in places if place.is_file()), None)


class BytePairTokenizer:
    """Texts -> tokens.

    Args:
        vocabulary: open_clip's file.
        context_length: L, tokens of a text with its start and end.

    Attributes:
        encoder: number of each token.
        bpe_ranks: pairs of tokens that make one, each with its turn.
        all_special_ids: numbers of a text's start and end.
    """

    def __init__(self, vocabulary: Path, context_length: int) -> None:
        import regex

        self.byte_symbols = _byte_symbols()
        self.encoder, self.bpe_ranks = _read_vocabulary(vocabulary)
        self.all_special_ids = [self.encoder[token] for token in SPECIALS]
        self.context_length = context_length
        self.cache = {token: [self.encoder[token]] for token in SPECIALS}
        self.words = regex.compile("|".join(SPECIALS) + WORDS, regex.IGNORECASE)

    @property
    def decoder(self) -> dict[int, str]:
        return {number: token for token, number in self.encoder.items()}

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Tokens of texts, int64 `[N, L]`: start, text and end, then zeros; a text that is too long loses its end."""
        length = context_length or self.context_length
        start, end = self.all_special_ids
        rows = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            tokens = [start, *self.encode(text)[: length - 2], end]
            row[: len(tokens)] = torch.tensor(tokens)
        return rows

    def encode(self, text: str) -> list[int]:
        """Tokens of a text of any length, without its start and end."""
        return [token for word in self.words.findall(clean(text)) for token in self._encode_word(word)]

    def _encode_word(self, word: str) -> list[int]:
        if word not in self.cache:
            if len(self.cache) > MOST_CACHED:
                self.cache = {token: self.cache[token] for token in SPECIALS}
            self.cache[word] = [self.encoder[symbol] for symbol in self._split(word)]
        return self.cache[word]

    def _split(self, word: str) -> list[str]:
        """The tokens that a word is of: its bytes, of which pairs become one while there are any to merge."""
        *before, last = (self.byte_symbols[byte] for byte in word.encode("utf-8"))
        symbols = [*before, last + WORD_END]
        while len(symbols) > 1:
            pair = min(pairwise(symbols), key=lambda pair: self.bpe_ranks.get(pair, NEVER))
            if pair not in self.bpe_ranks:
                break
            symbols = _merge(symbols, pair)
        return symbols


@functools.lru_cache(maxsize=1)
def _read_vocabulary(path: Path) -> tuple[dict[str, int], dict[tuple[str, ...], int]]:
    """Number of each token, and turn of each pair that is merged; read once, for however many CLIPs."""
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : NUM_MERGES + 1]
    single = list(_byte_symbols().values())
    merged = [line.replace(" ", "") for line in lines]
    tokens = [*single, *(symbol + WORD_END for symbol in single), *merged, *SPECIALS]
    encoder = {token: number for number, token in enumerate(tokens)}
    return encoder, {tuple(line.split()): rank for rank, line in enumerate(lines)}


def _merge(symbols: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Symbols with every occurrence of a pair made one, from left to right."""
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def _byte_symbols() -> dict[int, str]:
    """A visible character for each byte: first those that have one of their own, then the others, from 256 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = sorted({*range(256)} - {*visible})
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def clean(text: str) -> str:
    """A text with its encoding, entities, typographic variants and spaces put right, in lower case."""
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.inference.prompt_lists import (
    AUTO,
    PACKAGED,
    embed_prompt_list,
    general_prompts,
    read_prompt_list,
)
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.files import locate, own_prompts
from text2latent.zoo.evaluation import held_out_captions
from text2latent.zoo.language.captions import LANGUAGES
from text2latent.zoo.world import load_world

FACES = load_world("faces")


class Translator:
    """A CLIP with a direction of its own for each word and translation it knows, and one for all that it doesn't."""

    own_prompts = identity = None

    def __init__(self, languages: Sequence[str]) -> None:
        prompts = general_prompts()
        self.words = len(prompts["en"]) // 2
        self.rows = {text: row for name in languages for row, text in enumerate(prompts[name][: self.words])}
        self.space = torch.eye(self.words + 1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.space[[self.rows.get(text, self.words) for text in texts]]


def test_lines_are_prompts_but_blanks_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("# mine\na hat\n\n  帽子の人  \n", encoding="utf-8")
    assert read_prompt_list(str(file)) == ["a hat", "帽子の人"]


def test_packaged_faces_are_of_both_languages_without_repeats() -> None:
    prompts = read_prompt_list("faces")
    assert prompts == read_prompt_list(str(PACKAGED / "faces.txt"))
    japanese = [prompt for prompt in prompts if not prompt.isascii()]
    assert len(prompts) == len(set(prompts)) == 2 * len(japanese) >= 280


def test_packaged_faces_are_not_what_is_evaluated() -> None:
    evaluated = {caption.text for language in LANGUAGES for caption in held_out_captions(FACES, 500, language)}
    assert not evaluated & set(read_prompt_list("faces"))


def test_general_prompts_are_many_short_texts_of_both_languages() -> None:
    english, japanese = general_prompts().values()
    assert len(english) == len(set(english)) == len(japanese) >= 1000
    assert len(set(japanese)) > 0.99 * len(japanese)
    assert [text for text in english if len(text.split()) > 9 or "{" in text] == []
    assert [text for text in japanese if len(text) > 20 or "{" in text or text.isascii()] == []
    assert (english[0], japanese[0]) == ("a dog", "犬")


@pytest.mark.parametrize("languages", [("en",), ("en", "ja")])
def test_languages_that_a_clip_does_not_know_are_left_out(languages: Sequence[str]) -> None:
    clip = Translator(languages)
    embeddings = embed_prompt_list(clip, AUTO)  # type: ignore[arg-type]
    texts = [text for language in languages for text in general_prompts()[language]]
    assert torch.equal(embeddings.sum(dim=0), clip.encode_text(texts).sum(dim=0))


def test_a_clip_whose_folder_has_a_list_brings_its_own(tiny_world: Path, tmp_path: Path) -> None:
    clip = ClipEncoder.from_pretrained(str(tiny_world / "clip"))
    own = read_prompt_list(str(tiny_world / "clip" / "prompts.txt"))
    assert torch.allclose(embed_prompt_list(clip, AUTO).sum(dim=0), clip.encode_text(own).sum(dim=0), atol=1e-5)
    (tmp_path / "mine.txt").write_text("a hat\n")
    assert torch.allclose(embed_prompt_list(clip, str(tmp_path / "mine.txt")), clip.encode_text(["a hat"]))


def test_embeddings_are_kept_for_the_next_time(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXT2LATENT_CACHE", str(tmp_path))
    clip = ClipEncoder.from_pretrained(str(tiny_world / "clip"))
    made = embed_prompt_list(clip, AUTO)
    asked: list[int] = []
    encode_text = clip.encode_text
    monkeypatch.setattr(clip, "encode_text", lambda texts: asked.append(len(texts)) or encode_text(texts))
    assert torch.equal(embed_prompt_list(clip, AUTO), made)
    assert asked == [1]


@pytest.mark.parametrize("kept", [b"", b"not safetensors", "another CLIP's", "too few", "not finite"])
def test_what_lies_in_the_cache_is_not_trusted(
    kept: bytes | str, tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXT2LATENT_CACHE", str(tmp_path))
    clip = ClipEncoder.from_pretrained(str(tiny_world / "clip"))
    made = embed_prompt_list(clip, AUTO)
    (file,) = (tmp_path / "prompts").iterdir()
    others = {"another CLIP's": made.roll(1, dims=1), "too few": made[1:], "not finite": made / 0}
    file.write_bytes(kept if isinstance(kept, bytes) else save({"embeddings": others[kept].contiguous()}))
    assert torch.equal(embed_prompt_list(clip, AUTO), made)
    assert torch.equal(load(file.read_bytes())["embeddings"], made)


def test_a_cache_that_cannot_be_written_is_done_without(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TEXT2LATENT_CACHE", str(tmp_path / "file"))
    clip = ClipEncoder.from_pretrained(str(tiny_world / "clip"))
    assert torch.equal(embed_prompt_list(clip, AUTO), embed_prompt_list(clip, AUTO))


def test_the_worlds_of_the_zoo_bring_captions_of_faces() -> None:
    file = PACKAGED.parents[1] / "zoo" / "faces" / "weights" / "clip" / "prompts.txt"
    own = read_prompt_list(str(file))
    evaluated = {caption.text for language in LANGUAGES for caption in held_out_captions(FACES, 500, language)}
    assert len(set(own)) == len(own) == 1200
    assert not evaluated & set(own)
    assert {own_prompts(locate(name)) for name in ("faces", "faces-hard")} == {file}


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prompts nowhere: expected a text file"):
        read_prompt_list("nowhere")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match=r"empty.txt: expected prompts"):
        read_prompt_list(str(tmp_path / "empty.txt"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"latin.txt: expected UTF-8"):
        read_prompt_list(str(tmp_path / "latin.txt"))

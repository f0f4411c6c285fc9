from pathlib import Path

import pytest

from text2latent.configs.errors import InputError
from text2latent.models.prompt_lists import PACKAGED, read_prompt_list
from text2latent.zoo.faces.captions import LANGUAGES
from text2latent.zoo.faces.evaluation import held_out_captions


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
    evaluated = {caption.text for language in LANGUAGES for caption in held_out_captions(500, language)}
    assert not evaluated & set(read_prompt_list("faces"))


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prompts nowhere: expected a text file"):
        read_prompt_list("nowhere")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match=r"empty.txt: expected prompts"):
        read_prompt_list(str(tmp_path / "empty.txt"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"latin.txt: expected UTF-8"):
        read_prompt_list(str(tmp_path / "latin.txt"))

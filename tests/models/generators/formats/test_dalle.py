"""DALL-E's published pickle read safely."""

import pickle
from pathlib import Path

import pytest
import torch

from text2latent.common.errors import InputError
from text2latent.models.generators import load_generator

DATA = Path(__file__).resolve().parents[3] / "data" / "dalle"
FILES = ("decoder.pkl", "decoder-legacy.pkl")


class Malicious:
    def __reduce__(self) -> tuple:
        return print, ("dall_e.decoder: this must not run",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_the_pickle_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zipped: bool
) -> None:
    file = tmp_path / "decoder.pkl"
    torch.save({"x": Malicious(), "n": "dall_e.decoder"}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"global .*print.* is not allowed"):
        load_generator(file)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("file", FILES)
def test_truncated_files_are_refused(tmp_path: Path, file: str) -> None:
    short = tmp_path / file
    short.write_bytes((DATA / file).read_bytes()[:-20_000])
    with pytest.raises(InputError, match=file):
        load_generator(short)


def test_other_pickles_that_name_the_decoder_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pkl"
    torch.save({"dall_e.decoder": torch.zeros(2)}, file)
    with pytest.raises(InputError, match="expected DALL-E's decoder"):
        load_generator(file)
    file.write_bytes(pickle.dumps("dall_e.decoder"))
    with pytest.raises(InputError, match=r"other\.pkl"):
        load_generator(file)

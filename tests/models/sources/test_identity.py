import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2latent.common.errors import InputError
from text2latent.models.sources.identity import Identity, require_same, sha256_of

ONE = Identity("faces", "zoo/faces", "a" * 64)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_digest_does_not_depend_on_the_chunk(tmp_path: Path, chunk: int) -> None:
    data = bytes(range(256)) * 5
    (tmp_path / "weights").write_bytes(data)
    assert sha256_of(tmp_path / "weights", chunk) == hashlib.sha256(data).hexdigest()


@given(st.text(), st.text(), st.text())
def test_dictionary_round_trip(name: str, source: str, sha256: str) -> None:
    identity = Identity(name, source, sha256)
    assert Identity.from_dict(identity.to_dict()) == identity


@pytest.mark.parametrize("wrong", [{}, {"name": "x", "source": "y"}, {"name": "x", "source": "y", "sha256": 3}])
def test_incomplete_dictionaries_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="sha256"):
        Identity.from_dict(wrong)


def test_same_weights_may_lie_elsewhere() -> None:
    require_same(ONE, Identity("copy", "/elsewhere", ONE.sha256), "generator")


def test_weights_of_which_no_checksum_is_known_are_taken_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"generator: it is not known whether faces \(a{12}\) is ffhq that was used"):
        require_same(Identity("ffhq", "ffhq.pkl", ""), ONE, "generator")
    assert str(Identity("ffhq", "ffhq.pkl", "")) == "ffhq (no checksum known)"


def test_other_weights_are_refused_naming_both() -> None:
    with pytest.raises(InputError, match=r"generator: expected faces \(a{12}\), got lhq \(b{12}\)"):
        require_same(ONE, Identity("lhq", ONE.source, "b" * 64), "generator")

"""Files that visitors send and get: whose they are, how many, and what lies among them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")

from text2latent.apps.serving.visitor_files import Upload, Uploads, keep, read_kept


def below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def test_uploads_are_for_their_own_visit() -> None:
    uploads = Uploads(100)
    upload = Upload(b"data", "a.png", "mine", "192.0.2.7")
    name = uploads.put(upload)
    assert uploads.get(name, "mine") is uploads.taken(name) is upload
    assert uploads.get(name, "another's") is uploads.get("x", "mine") is None
    assert uploads.put(upload) != name


@given(sent=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=40))
def test_uploads_stay_within_their_quotas(sent: list[tuple[str, int]]) -> None:
    uploads = Uploads(max_client_bytes=50, max_bytes=90)
    names = []
    for client, size in sent:
        names.append((client, uploads.put(Upload(bytes(size), "a", "visit", client))))
        assert uploads.taken(names[-1][1]) is not None
        assert uploads.num_bytes <= 90
        for one in "abc":
            kept = [uploads.taken(name) for owner, name in names if owner == one]
            assert sum(len(upload.data) for upload in kept if upload) <= 50


def test_what_is_kept_is_found_again_under_its_name_only(tmp_path: Path) -> None:
    first, again, other = (below(keep(data, "x.png", tmp_path), tmp_path) for data in (b"a", b"a", b"b"))
    assert first == again != other
    assert (read_kept(first, tmp_path), read_kept(other, tmp_path)) == (b"a", b"b")
    token, _, name = first.partition("/")
    forged = (f"{token}/../{first}", f"{'0' * 64}/{name}", f"{token[:32]}{other[32:64]}/x.png", f"{token}/y.png")
    for place in (*forged, first[1:], f"/{first}", token, name, ""):
        assert read_kept(place, tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes of POSIX")
def test_links_and_pipes_in_the_place_of_files_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    kept = keep(b"a", "x.png", tmp_path)
    place = below(kept, tmp_path)
    for put in (lambda: kept.symlink_to(secret), lambda: os.mkfifo(kept), kept.mkdir):
        kept.unlink()
        put()
        assert read_kept(place, tmp_path) is None
        if kept.is_dir():
            kept.rmdir()
            kept.touch()
    elsewhere = kept.parent.rename(tmp_path / "elsewhere")
    kept.parent.symlink_to(elsewhere)
    assert (elsewhere / "x.png").exists()
    assert read_kept(place, tmp_path) is None
    assert read_kept(f"{place[:-5]}gone.png", tmp_path) is None

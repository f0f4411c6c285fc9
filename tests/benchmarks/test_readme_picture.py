"""The README's pictures are drawn from its texts."""

from PIL import Image

from text2latent.benchmarks.readme_picture import FOLDER, NUM_IMAGES, TEXTS, main

README = FOLDER.parents[1] / "README.md"


def test_a_row_of_images_per_text(tmp_path, tiny_model):
    assert main(["--model", str(tiny_model), "--output", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in TEXTS}
    for name, text in TEXTS.items():
        with Image.open(tmp_path / f"{name}.png") as picture:
            width, height = picture.size
            assert width // height == NUM_IMAGES
            assert picture.info["prompt"] == text


def test_readme_shows_every_text_with_its_picture():
    cells = README.read_text(encoding="utf-8").split("<td>")
    for name, text in TEXTS.items():
        assert any(f"docs/images/{name}.png" in cell and cell.startswith(text) for cell in cells)


def test_unknown_model_is_one_line(tmp_path, capsys):
    assert main(["--model", "no-such-model", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())

"""The page's modules against what they repeat of Python: tokens, noise, grammar of prompts, arithmetic, PNG files."""

from __future__ import annotations

import base64
import html
import io
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from PIL import Image

from text2latent.apps.exports.web.tokenizer_file import tokenizer_file
from text2latent.benchmarks.web_visits import file_server
from text2latent.common.errors import UsageError
from text2latent.inference.editing import slerp
from text2latent.inference.prompts import Prompt
from text2latent.inference.writing import slugify
from text2latent.models.clip.tokenizer import BytePairTokenizer, find_vocabulary
from text2latent.tests.apps.exports.test_clip_text import ENTITIES, ODD, WORDS, prompts
from text2latent.tests.apps.exports.web.conftest import SOURCES
from text2latent.zoo.evaluation import held_out_captions
from text2latent.zoo.world import load_world

FACES = load_world("faces")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TOKENS = 24
CAPTIONS = 500
SHARED = {"max_examples": 60, "deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
LOAD_TOKENIZER = """async length => {
    const { Tokenizer } = await import('./scripts/tokenizer.js');
    window.file = await (await fetch('tokenizer.json')).json();
    window.tokenizer = new Tokenizer(window.file, length);
}"""


@pytest.fixture(scope="module")
def python_tokenizer() -> BytePairTokenizer:
    vocabulary = find_vocabulary()
    assert vocabulary is not None
    return BytePairTokenizer(vocabulary, TOKENS)


@pytest.fixture(scope="module")
def page(
    browser: Browser, python_tokenizer: BytePairTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """An empty page beside the modules, which knows a `tokenizer` and its `file`."""
    folder = tmp_path_factory.mktemp("scripts")
    shutil.copytree(SOURCES / "site" / "scripts", folder / "scripts")
    (folder / "tokenizer.json").write_bytes(tokenizer_file(python_tokenizer))
    (folder / "index.html").touch()
    with file_server(folder) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        page.evaluate(LOAD_TOKENIZER, TOKENS)
        yield page


def tokens_of(page: Any, texts: list[str]) -> np.ndarray:
    script = "texts => texts.map(text => Array.from(tokenizer.encode(text), Number))"
    return np.array(page.evaluate(script, texts))


def test_a_thousand_captions_have_the_tokens_of_python(page: Any, python_tokenizer: BytePairTokenizer) -> None:
    captions = [caption.text for language in ("en", "ja") for caption in held_out_captions(FACES, CAPTIONS, language)]
    texts = [*captions, *ENTITIES, *WORDS, ODD, "word " * 100, "", "a <start_of_text> b <end_of_text>"]
    assert len(captions) == 1000
    np.testing.assert_array_equal(tokens_of(page, texts), python_tokenizer(texts).numpy())


@settings(**SHARED)
@given(prompts)
@example("&lt;b&gt; <b> &amp;lt; &notit; &#128; &#x110000; &#0;")
@example("&eacute &amp &unknown; &#xfdd0;")
def test_any_text_has_the_tokens_of_python(page: Any, python_tokenizer: BytePairTokenizer, text: str) -> None:
    import ftfy

    # What ftfy does to text that was decoded wrongly is left out, as the documentation says.
    assume(ftfy.fix_text(text, fix_encoding=False) == ftfy.fix_text(text))
    np.testing.assert_array_equal(tokens_of(page, [text])[0], python_tokenizer([text])[0].numpy(), ascii(text))


def test_entities_are_read_as_python_reads_them(page: Any) -> None:
    texts = [*ENTITIES, "&notit;", "&#150;", "&#x0d;", "&#xD800;", "&#1;", "&ampx &copy2; &;", "&#11;&#127;&#xffff;"]
    script = """texts => import('./scripts/cleaning.js').then(
        ({ unescapeHtml }) => texts.map(text => unescapeHtml(text, file)))"""
    assert page.evaluate(script, texts) == [html.unescape(text) for text in texts]


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 31, 32, 58, 700])
@pytest.mark.parametrize("seed", [0, 3, 2**32 - 1, 2**40 + 3, 2**53 - 1])
def test_noise_is_that_of_torch(page: Any, seed: int, size: int) -> None:
    script = "([seed, size]) => import('./scripts/noise.js').then(({ randn }) => [...randn(seed, size)])"
    expected = torch.randn(size, generator=torch.Generator().manual_seed(seed)).numpy()
    np.testing.assert_allclose(page.evaluate(script, [seed, size]), expected, atol=2e-6)


READ_PROMPT = """text => import('./scripts/prompt.js').then(({ parsePrompt }) => {
    try { return parsePrompt(text, file.wide).map(({ text, weight }) => [text, weight]); }
    catch (error) { return error.problem; }
})"""


@pytest.mark.parametrize(
    "prompt",
    [
        " a man ",
        "blonde woman:1.0 | glasses:0.5",
        "金髪の女性：１．０｜眼鏡：－０．５",
        "a | b",
        "金髪|眼鏡",
        "a clock at 10:30",
        r"a clock at 10\:30 | a man",
        r"a \| b | c:2",
        r"back\slash \\ | x : +.5 ",
        "a:30 b | c:1",
        "a|b:3.|c:-.5",
    ],
)
def test_prompts_are_taken_apart_as_python_does(page: Any, prompt: str) -> None:
    assert page.evaluate(READ_PROMPT, prompt) == [[part.text, part.weight] for part in Prompt(prompt).parts]


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("", "empty"),
        (" \u200b\u3000", "empty"),
        ("a\x00b", "control"),
        ("a" * 2001, "long"),
        ("a | ", "part"),
        ("a:101 | b", "weight"),
        ("a:1 | b:-1", "sum"),
    ],
)
def test_what_python_refuses_is_refused(page: Any, prompt: str, problem: str) -> None:
    assert page.evaluate(READ_PROMPT, prompt) == problem
    with pytest.raises(UsageError):
        Prompt(prompt)


@pytest.mark.parametrize("end", [(0.0, 1.0), (0.6, 0.8), (1.0, 0.0), (-1.0, 1e-9)])
def test_ways_are_those_of_great_circles(page: Any, end: tuple[float, float]) -> None:
    script = """([start, end, fractions]) => import('./scripts/vectors.js').then(
        ({ slerp }) => fractions.map(fraction => [...slerp(start, end, fraction)]))"""
    start, fractions = (1.0, 0.0), [0.0, 0.25, 1.0]
    expected = slerp(*(torch.tensor(one, dtype=torch.float64) for one in (start, end, fractions)))
    np.testing.assert_allclose(page.evaluate(script, [start, end, fractions]), expected, atol=1e-6)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_files_hold_every_level_and_text(page: Any, channels: int, mode: str) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
    texts = {"prompt": "schön", "text2latent": "眼鏡 😀", "empty": ""}
    script = """async ([levels, channels, texts]) => {
        const { encodePng } = await import('./scripts/png.js');
        const file = await encodePng({ width: 7, height: 5, channels, levels: Uint8ClampedArray.from(levels) }, texts);
        return btoa(String.fromCharCode(...new Uint8Array(await file.arrayBuffer())));
    }"""
    data = base64.b64decode(page.evaluate(script, [levels.ravel().tolist(), channels, texts]))
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert (picture.mode, picture.text) == (mode, texts)  # type: ignore[attr-defined]
        read = np.asarray(picture).reshape(5, 7, channels).transpose(2, 0, 1)
    np.testing.assert_array_equal(read, levels)


@pytest.mark.parametrize(
    "text", ["Blonde woman, WITH glasses!", "眼鏡をかけた金髪の女性", "…", "ＡＢＣ " + "長い" * 40]
)
def test_names_of_files_are_those_of_infer(page: Any, text: str) -> None:
    script = """text => import('./scripts/recipe.js').then(
        ({ fileName }) => fileName({ text, mix: null, edit: null, guidanceScale: 1 }, 7))"""
    assert page.evaluate(script, text) == f"{slugify(text)}-7.png"

"""An exported model is one to lm-eval: it gives the numbers of our own decoder. vLLM's: tests/synth/test_serve.py."""

from typing import Any

import pytest

from hare_ray.engine import run
from hare_ray.model.initial import Initial
from hare_ray.model.shape import Shape
from hare_ray.stage import Source
from hare_ray.tokens.tokenizer import Tokenizer
from tests.frame.stages import Lines

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

SHAPE = Shape(
    layers=2, hidden=64, heads=2, kv_heads=1, mlp_hidden=160, vocabulary=288, tied=True
)  # fmt: skip
TEXT = "the garden by the river was quiet in the early light of winter"
ASKED = "the quiet"


@pytest.fixture(scope="module")
def decoder():
    import torch

    from hare_ray.model.attention import choose
    from hare_ray.model.decoder import Decoder

    return Decoder(SHAPE, choose(torch.device("cpu"), torch.float32), 1, Initial(std=0.3)).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, decoder):
    """What Export leaves: weights and configuration beside the tokenizer's files."""
    from hare_ray.model.export import SpecialTokens, to_hf

    place = tmp_path_factory.mktemp("exported")
    (place / "text").mkdir()
    (place / "text" / "0.txt").write_text(f"{TEXT}\n" * 50)
    docs = Lines(files=Source(label="text", location=str(place / "text")))
    tokenizer = Tokenizer(docs=docs, vocabulary=SHAPE.vocabulary, max_bytes=1 << 20)
    run(tokenizer, root=str(place / "run"))
    made = place / "run" / tokenizer.name / tokenizer.fingerprint[:12]
    to_hf(decoder, SHAPE, made, dtype="float32", context_tokens=64, special=SpecialTokens(1, 2, 3))
    return made


def ours(decoder, tokens: list[int]):
    """Log-probabilities of every next token."""
    import torch

    row = torch.tensor([tokens])
    with torch.no_grad():
        logits = decoder.logits(row, torch.zeros_like(row, dtype=torch.int32), torch.arange(len(tokens))[None])
    return torch.log_softmax(logits[0].double(), -1)


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_lm_eval_gives_the_loss_of_our_decoder(folder, decoder, tokenizer, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    build: Any = HFLM  # its signature hides behind a decorator
    model = build(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1, max_length=64)
    asked = [Instance("loglikelihood", {}, arguments, 0) for arguments in (("", TEXT), (ASKED, " garden"))]
    (whole, _), (after, _) = model.loglikelihood(asked, disable_tqdm=True)

    tokens = tokenizer.encode(TEXT)
    assert tokens[0] == 1  # <s> stands before every text, as in training
    said = ours(decoder, tokens)
    expected = sum(float(said[at - 1, token]) for at, token in enumerate(tokens) if at)
    begun, continued = tokenizer.encode(ASKED), tokenizer.encode(f"{ASKED} garden")
    said = ours(decoder, continued)
    tail = sum(float(said[at - 1, continued[at]]) for at in range(len(begun), len(continued)))
    assert after == pytest.approx(tail, rel=1e-4)
    # lm-eval asks for <s> itself where nothing stands before a text: one token more at most.
    extra = float(ours(decoder, [1, 1])[0, 1])
    assert min(abs(whole - expected), abs(whole - expected - extra)) < 1e-3 * abs(expected)

"""Pruned BPE: the same texts come back, every entry can be made, ids named anywhere are right; real tokenizers too."""

import gzip
import itertools
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Loaded
from tokenizers import decoders, models, pre_tokenizers

from hare_ray.tokens import byte_pairs
from hare_ray.tokens.tokenizer import SPECIALS, trained

ODD = [
    "",
    "  two  spaces ",
    "</s><s><unk> <0x41>",
    "\u65e5\u672c\u8a9e \u2603 \U0001f600\U0001f3fd",
    "def f(x):\n        return x[2024]\n\n\n\tif a:\r\n",
    "\u2581 \u2581x",
    "\x00\u200b\ufeff e\u0301",
]


def counted(tokenizer, texts, entries):
    counts = np.zeros(entries, np.int64)
    for text in texts:
        counts += np.bincount(tokenizer.encode(text, add_special_tokens=False).ids, minlength=entries)
    return counts


def built(tokenizer):
    loaded = Loaded.from_str(json.dumps(tokenizer))
    loaded.encode_special_tokens = True
    return loaded


def cut(tokenizer, texts, vocabulary):
    """The pruned tokenizer.json, and the remap."""
    entries = byte_pairs.entries(tokenizer)
    counts = counted(built(tokenizer), texts, len(entries))
    remap = entries.remap(entries.dropping(counts), vocabulary)
    return byte_pairs.pruned(tokenizer, remap), remap


def back(tokenizer, text):
    """The text as it comes back; one without tokens is empty."""
    return tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False)


def same_texts_come_back(before, after, texts):
    for text in texts:
        assert back(after, text) == back(before, text)


def every_entry_can_be_made(tokenizer, remap, old):
    """Joining the characters of an entry's own text gives the entry, if it did before."""
    model = tokenizer["model"]
    order = {pair: at for at, pair in enumerate(byte_pairs.pairs(model["merges"]))}
    was = {pair: at for at, pair in enumerate(byte_pairs.pairs(old["model"]["merges"]))}
    for text in model["vocab"]:
        if len(text) > 1 and byte_pairs.halves(list(text), lambda a, b: was.get((a, b))):
            assert byte_pairs.halves(list(text), lambda a, b: order.get((a, b))), text
        assert sorted(model["vocab"].values()) == list(range(len(model["vocab"])))
    for text, old_id in old["model"]["vocab"].items():
        assert model["vocab"].get(text, -1) == remap[old_id]


def made_up(count):
    """Sentences of 300 made-up words by Zipf's law, some indented, with numbers."""
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("abcdeilnorst"), rng.integers(2, 9))) for _ in range(300)]
    for n in range(count):
        drawn = np.minimum(rng.zipf(1.3, 12), 300) - 1
        yield " " * int(rng.integers(0, 3) * 4) + " ".join(words[one] for one in drawn) + f", {n}.\n"


TEXTS = list(made_up(400))


@cache
def small():
    return json.loads(trained(iter([TEXTS]), 600).to_str())


@pytest.mark.parametrize("vocabulary", [260, 300, 450, 599])
def test_cut_on_the_text_it_learnt_from_it_is_the_one_learnt_at_that_size(vocabulary):
    """What is dropped counts for its halves, so the last entries learnt are the first to go."""
    pruned, _ = cut(small(), TEXTS, vocabulary)
    learnt = json.loads(trained(iter([TEXTS]), vocabulary).to_str())
    lengths = [sum(len(built(one).encode(text).ids) for text in TEXTS) for one in (pruned, learnt)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.01)
    assert len(set(pruned["model"]["vocab"]) & set(learnt["model"]["vocab"])) > 0.97 * vocabulary


@settings(max_examples=150, deadline=None)
@given(st.text() | st.text("the lorimt\n 90", max_size=60))
@example("".join(ODD))
def test_any_text_comes_back_from_a_byte_level_one(text):
    pruned, _ = pruned_small()
    assert back(pruned, text) == text


@cache
def pruned_small():
    pruned, remap = cut(small(), TEXTS[:20], 300)
    return built(pruned), remap


def test_every_entry_that_is_kept_can_be_made():
    for vocabulary in (270, 450):
        pruned, remap = cut(small(), TEXTS[:20], vocabulary)
        every_entry_can_be_made(pruned, remap, small())


def test_specials_keep_their_ids_and_are_put_in_front():
    pruned, remap = pruned_small()
    assert remap[: len(SPECIALS)].tolist() == [0, 1, 2, 3]
    assert pruned.encode("the").ids[0] == 1
    assert pruned.get_vocab_size() == 300


def test_a_file_without_a_type_is_one_if_it_has_merges():
    """GPT-2's first files have none, and the library loads them."""
    untold = {**small(), "model": {name: value for name, value in small()["model"].items() if name != "type"}}
    pruned, remap = cut(untold, TEXTS[:20], 300)
    typed, same = cut(small(), TEXTS[:20], 300)
    assert (remap == same).all()
    assert pruned["model"]["vocab"] == typed["model"]["vocab"]
    assert built(pruned).encode(TEXTS[0]).ids == built(typed).encode(TEXTS[0]).ids
    del untold["model"]["merges"]
    with pytest.raises(ValueError, match="type None"):
        byte_pairs.entries(untold)


def llama_like():
    """Characters, 256 byte entries, no cut before pairs are joined; several merges make `abc`."""
    texts = ["<unk>", "<s>", "</s>", *sorted(byte_pairs.BYTE_ENTRIES)]
    texts += [*"\u2581abcxyz", "ab", "bc", "abc", "\u2581x", "\u2581abc", "xy", "zz"]
    merges = ["b c", "a b", "a bc", "ab c", "\u2581 x", "\u2581 abc", "x y", "z z"]
    tokenizer = Loaded(
        models.BPE(
            vocab={text: n for n, text in enumerate(texts)},
            merges=[tuple(merge.split()) for merge in merges],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.add_tokens(["|||ADDED|||"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return json.loads(tokenizer.to_str())


def test_of_several_merges_those_that_encoding_uses_are_kept():
    """`abc` is joined from a and bc: ab is needed for nothing and goes before bc."""
    tokenizer = llama_like()
    pruned, remap = cut(tokenizer, ["abc abc abc x", "zz zz"], 3 + 256 + 1 + 1 + 8)
    kept = set(pruned["model"]["vocab"]) - byte_pairs.BYTE_ENTRIES - {"<unk>", "<s>", "</s>"}
    assert kept == {"\u2581", "a", "b", "c", "bc", "abc", "\u2581abc", "z", "zz"}
    assert ["ab", "c"] not in [list(pair) for pair in byte_pairs.pairs(pruned["model"]["merges"])]
    assert [token["id"] for token in pruned["added_tokens"]] == [0, 1, 2, len(pruned["model"]["vocab"])]
    assert remap.max() == len(pruned["model"]["vocab"])
    assert built(pruned).encode("abc").tokens == ["\u2581abc"]
    assert built(pruned).encode("x\u00e9").tokens == ["\u2581", "<0x78>", "<0xC3>", "<0xA9>"]


@settings(max_examples=150, deadline=None)
@given(st.text() | st.text("abcxyz \u2581|ADE<0>s", max_size=40) | st.just("a|||ADDED||| b"))
def test_what_came_back_from_one_with_byte_fallback_still_does(text):
    tokenizer = llama_like()
    pruned, _ = cut(tokenizer, ["zz"], 3 + 256 + 1 + 1 + 2)
    assert back(built(pruned), text) == back(built(tokenizer), text)


def test_characters_stay_where_a_byte_entry_is_missing():
    tokenizer = llama_like()
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["<unused>"] = vocabulary.pop("<0x78>")
    pruned, _ = cut(tokenizer, ["zz"], 3 + 256 + 1 + 7)
    assert set("\u2581abcxyz") < set(pruned["model"]["vocab"]) >= byte_pairs.BYTE_ENTRIES - {"<0x78>"}
    assert back(built(pruned), "xyz \u00e9 abc") == "xyz \u00e9 abc"


def test_how_it_was_used_last_is_taken_back():
    used = built(small())
    used.enable_truncation(4)
    used.enable_padding(pad_id=3, pad_token="<pad>", length=40)
    used.model.dropout = 0.5
    told = json.loads(used.to_str())
    remap = np.arange(600, dtype=np.int32)
    assert byte_pairs.pruned(told, remap) == byte_pairs.pruned(small(), remap)
    assert told["model"]["dropout"] == 0.5


def test_ids_are_right_wherever_a_file_names_them():
    word = max(small()["model"]["vocab"], key=len)
    tokenizer = {
        **small(),
        "post_processor": {
            "type": "Sequence",
            "processors": [
                {
                    "type": "BertProcessing",
                    "sep": [word, small()["model"]["vocab"][word]],
                    "cls": ["<s>", 1],
                },
                small()["post_processor"],
            ],
        },
    }
    entries = byte_pairs.entries(tokenizer)
    dropping = entries.dropping(np.zeros(len(entries), np.int64))
    remap = entries.remap(dropping, len(entries) - len(dropping))
    pruned = byte_pairs.pruned(tokenizer, remap)
    named = {place[key] for place, key in byte_pairs.named_ids(pruned)}
    assert named == {0, 1, 2, 3, pruned["model"]["vocab"][word]}
    assert built(pruned).get_vocab_size() == len(entries) - len(dropping) < 275
    settings_ = {"added_tokens_decoder": {"3": {"content": "<pad>"}}, "pad_token": "<pad>"}
    shifted = np.where(np.arange(len(remap)) == 0, -1, np.arange(len(remap)) - 1)
    assert byte_pairs.config(settings_, shifted)["added_tokens_decoder"] == {"2": {"content": "<pad>"}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"type": "Unigram"}, "type 'Unigram'"),
        ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix"),
        ({"vocab": {"a": 0, "b": 9}}, r"up to 9 and without 4, expected no gaps; .* \"<unused 4>\": 4"),
    ],
)
def test_other_kinds_are_refused(change, told):
    tokenizer = small()
    with pytest.raises(ValueError, match=told):
        byte_pairs.entries({**tokenizer, "model": {**tokenizer["model"], **change}})


def test_added_tokens_that_the_library_numbers_otherwise_are_refused():
    """It gives the next id behind the vocabulary to a token that fills a hole in it."""
    vocabulary = {text: number + (number >= 400) for text, number in small()["model"]["vocab"].items()}
    filling = {**small()["added_tokens"][0], "content": "<mid>", "id": 400}
    tokenizer = {
        **small(),
        "model": {**small()["model"], "vocab": vocabulary},
        "added_tokens": [*small()["added_tokens"], filling],
    }
    theirs = built(tokenizer).token_to_id("<mid>")
    assert theirs != 400
    with pytest.raises(ValueError, match=rf"'<mid>' 400, expected {theirs}, .* write \"<mid>\": 400 into its model"):
        byte_pairs.entries(tokenizer)
    vocabulary["<mid>"] = 400
    assert built(tokenizer).token_to_id("<mid>") == 400
    assert byte_pairs.entries(tokenizer).fixed[400]


def gpt2(folder):
    tokenizer = Loaded(models.BPE.from_file(str(folder / "gpt2_vocab.json"), str(folder / "gpt2_merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return json.loads(tokenizer.to_str())


def real(name):
    folder = Path(os.environ["HARE_DATA"]) / "models/tokenizers"
    return (
        gpt2(folder / name) if name == "gpt2_bpe" else json.loads((folder / f"{name}-test-tokenizer.json").read_text())
    )


def lines(name, count, column="text"):
    with gzip.open(Path(os.environ["HARE_DATA"]) / "text" / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line)[column] for line in itertools.islice(file, count)]


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("HARE_DATA"), reason="needs models/tokenizers and text under HARE_DATA")
@pytest.mark.parametrize("name", ["gpt2_bpe", "gpt-neo", "llama"])
def test_real_tokenizers_and_texts(name):
    before = real(name)
    articles = lines("enwiki_2014_dev", 700)
    after, remap = cut(before, articles[:500], 8192)
    every_entry_can_be_made(after, remap, before)
    old, new = built(before), built(after)
    assert new.get_vocab_size() == 8192
    texts = [*articles[500:], *lines("hplt_v2_snippets", 1500)[::10], *lines("flores200_dev", 4000)[::40], *ODD]
    same_texts_come_back(old, new, texts)
    more = [sum(len(one.encode(text).ids) for text in articles[500:]) for one in (new, old)]
    assert 1 < more[0] / more[1] < 1.25

"""Tokenizers from elsewhere: what their files say in every form, and the three files that they become."""

import json

import numpy as np
import pytest
import sentencepiece
from tokenizers import Tokenizer as Loaded
from transformers import AutoTokenizer

from hare_ray.engine import run
from hare_ray.stage import Source
from hare_ray.tokenizer_files import NAMES, completed, ids, in_folder, specials
from hare_ray.tokens import GivenTokenizer
from hare_ray.tokens.given import files_of
from hare_ray.tokens.pack import Encoder
from hare_ray.tokens.tokenizer import loaded, trained

SENTENCES = [f"lo{n} mera tin</s> the {n}  times {n * 7} of it" for n in range(60)]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    trained(iter([SENTENCES]), 300).save(str(folder / "tokenizer.json"))
    return folder


def made(folder, tmp_path, vocabulary):
    stage = GivenTokenizer(given=Source(location=str(folder), label="theirs"), vocabulary=vocabulary)
    run(stage, root=str(tmp_path / "root"))
    return tmp_path / "root" / stage.name / stage.fingerprint[:12]


def told(words, **files):
    """tokenizer.json with other files beside it."""
    beside = {f"{name}.json": json.dumps(value).encode() for name, value in files.items()}
    return {"tokenizer.json": (words / "tokenizer.json").read_bytes(), **beside}


@pytest.mark.parametrize("type_", ["bpe", "unigram"])
def test_a_sentencepiece_model_becomes_files_that_others_load(type_, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.json").write_text("{}")  # as in the folder of a model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_prefix=str(theirs / "tokenizer"), vocab_size=300, model_type=type_,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False,
        num_threads=1, minloglevel=3,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(theirs / "tokenizer.model"))
    folder = made(theirs, tmp_path, 300)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, None)
    assert max(ids(in_folder(folder)).values()) == model.vocab_size() - 1
    for text in ("mera 5 tin", "two  spaces \u65e5"):
        assert loaded(folder).encode(text, add_special_tokens=False).ids == model.encode(text)
    stream, lengths = Encoder.of(folder, np.dtype("<u2")).encoded(["mera"])
    assert stream.tolist() == [1, *model.encode("mera"), 2]
    assert lengths.tolist() == [len(stream)]
    assert Encoder.of(theirs, np.dtype("<u2")).encoded(["mera"])[0].tolist() == stream.tolist()


def test_files_that_are_there_stay_and_weights_beside_them_are_left(words, tmp_path):
    (tmp_path / "theirs").mkdir()
    config = {"bos_token": None, "eos_token": {"content": "</s>"}, "model_max_length": 9}
    (tmp_path / "theirs" / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "theirs" / "tokenizer.json").write_bytes((words / "tokenizer.json").read_bytes())
    (tmp_path / "theirs" / "model.safetensors").write_bytes(b"weights")
    folder = made(tmp_path / "theirs", tmp_path, 300)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert json.loads((folder / "tokenizer_config.json").read_text()) == config
    assert json.loads((folder / "special_tokens_map.json").read_text()) == {"eos_token": "</s>", "pad_token": "<pad>"}
    assert in_folder(folder) == completed(in_folder(folder))


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({}, ("<s>", "</s>", "<pad>")),
        ({"tokenizer_config": {"model_max_length": 9}}, ("<s>", "</s>", "<pad>")),
        ({"tokenizer_config": {"bos_token": None, "eos_token": "<pad>"}}, (None, "<pad>", "<pad>")),
        ({"special_tokens_map": {"eos_token": {"content": "<unk>"}}}, ("<s>", "<unk>", "<pad>")),
        (
            {"tokenizer_config": {"eos_token": "<s>"}, "special_tokens_map": {"eos_token": "</s>", "pad_token": "<s>"}},
            ("<s>", "<s>", "<s>"),
        ),
        (
            {"tokenizer_config": {"pad_token": None}, "special_tokens_map": {"pad_token": "<pad>", "eos_token": None}},
            ("<s>", None, None),
        ),
    ],
)
def test_special_tokens_are_what_the_files_say(beside, expected, words):
    assert tuple(specials(told(words, **beside)).values()) == expected


def test_what_a_file_tells_of_its_last_use_is_taken_back(words, tmp_path):
    (tmp_path / "theirs").mkdir()
    used = Loaded.from_file(str(words / "tokenizer.json"))
    used.enable_truncation(4)
    used.enable_padding(pad_id=3, pad_token="<pad>", length=40)
    used.model.dropout = 0.5
    used.save(str(tmp_path / "theirs" / "tokenizer.json"))
    folder = made(tmp_path / "theirs", tmp_path, 300)
    assert json.loads((folder / "tokenizer.json").read_text()) == json.loads((words / "tokenizer.json").read_text())
    for place in (folder, tmp_path / "theirs"):
        ids_ = [loaded(place).encode(text, add_special_tokens=False).ids for text in SENTENCES]
        assert ids_ == [loaded(words).encode(text, add_special_tokens=False).ids for text in SENTENCES]


def test_a_file_that_tells_no_use_keeps_its_bytes(words, tmp_path):
    (tmp_path / "theirs").mkdir()
    stored = json.dumps(json.loads((words / "tokenizer.json").read_text()), separators=(",", ":")).encode()
    (tmp_path / "theirs" / "tokenizer.json").write_bytes(stored)
    assert (made(tmp_path / "theirs", tmp_path, 300) / "tokenizer.json").read_bytes() == stored


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A folder with a SentencePiece .model."""
    folder = tmp_path_factory.mktemp("pieces")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_prefix=str(folder / "tokenizer"), vocab_size=300, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, num_threads=1,
        minloglevel=3,
    )  # fmt: skip
    return folder


FLAGS = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}


def beside(pieces, place, **files):
    """The .model with other files in its folder."""
    place.mkdir()
    (place / "tokenizer.model").write_bytes((pieces / "tokenizer.model").read_bytes())
    for name, value in files.items():
        (place / f"{name}.json").write_text(json.dumps(value))
    return place


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ("<s>", "</s>", None)),
        ({"tokenizer_config": {"bos_token": None, "pad_token": {**FLAGS, "__type": "AddedToken", "content": "</s>"}}},
         (None, "</s>", "</s>")),
        ({"special_tokens_map": {"eos_token": {**FLAGS, "content": "<s>"}, "pad_token": "<unk>"}},
         ("<s>", "<s>", "<unk>")),
        (
            {"tokenizer_config": {"eos_token": "<unk>"}, "special_tokens_map": {"eos_token": "<s>"}},
            ("<s>", "<unk>", None),
        ),
    ],
)  # fmt: skip
def test_the_files_beside_a_model_say_what_its_special_tokens_are(files, expected, pieces, tmp_path):
    place = beside(pieces, tmp_path / "theirs", **files)
    assert tuple(specials(files_of(place)).values()) == expected
    loaded_ = AutoTokenizer.from_pretrained(made(place, tmp_path, 300))
    assert (loaded_.bos_token, loaded_.eos_token, loaded_.pad_token) == expected
    assert loaded_("mera")["input_ids"][0] == (loaded_.bos_token_id or loaded_.convert_tokens_to_ids("\u2581mera"))


def test_settings_beside_a_model_stay_but_for_the_class_that_reads_it(pieces, tmp_path):
    config = {"add_bos_token": False, "chat_template": "{{ x }}", "tokenizer_class": "LlamaTokenizer",
              "auto_map": {"AutoTokenizer": ["theirs.Theirs", None]}}  # fmt: skip
    place = beside(pieces, tmp_path / "theirs", tokenizer_config=config, added_tokens={"<s>": 1, "</s>": 2})
    folder = made(place, tmp_path, 300)
    told = json.loads((folder / "tokenizer_config.json").read_text())
    assert (told["chat_template"], told["tokenizer_class"]) == ("{{ x }}", "PreTrainedTokenizerFast")
    assert "auto_map" not in told
    model = sentencepiece.SentencePieceProcessor(model_file=str(pieces / "tokenizer.model"))
    loaded_ = AutoTokenizer.from_pretrained(folder)
    for text in ("mera 5 tin", "two  spaces \u65e5"):
        assert loaded_(text)["input_ids"] == model.encode(text)
    assert Encoder.of(place, np.dtype("<u2")).encoded(["mera"])[0].tolist() == [*model.encode("mera"), 2]


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens": {"<s>": 1, "<pad>": 300}},
        {"added_tokens": {"</s>": 1}},
        {"tokenizer_config": {"added_tokens_decoder": {"300": {"content": "<pad>"}}}},
    ],
    ids=str,
)
def test_tokens_that_are_added_to_a_model_are_refused(files, pieces, tmp_path):
    place = beside(pieces, tmp_path / "theirs", **files)
    with pytest.raises(ValueError, match=r"an added token '.*' of id (300|1), .* expected .*save_pretrained"):
        files_of(place)


def test_what_cannot_be_trained_or_exported_is_refused_before(words, tmp_path):
    largest = max(ids(in_folder(words)).values())
    with pytest.raises(ValueError, match=f"ids up to {largest}, the model has {largest} embeddings"):
        made(words, tmp_path, largest)
    with pytest.raises(ValueError, match="'<far>' as pad_token"):
        specials(told(words, tokenizer_config={"pad_token": "<far>"}))
    with pytest.raises(ValueError, match=r"without tokenizer\.json, expected one; GivenTokenizer makes it"):
        ids({})

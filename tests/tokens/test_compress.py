"""From documents and a tokenizer to a compact one, through the engine: counts, the choice, files that others load."""

import dataclasses
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece

from hare_ray.engine import run
from hare_ray.model.shape import Shape
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Files, Map, PartFunction, Source
from hare_ray.tokenizer_files import ids, in_folder, specials
from hare_ray.tokens import CompressedTokenizer, Pack, TokenCounts, Tokenizer
from hare_ray.tokens.compress import Files as CompressedFiles
from hare_ray.tokens.tokenizer import batches, loaded

SHAPE = Shape(layers=3, hidden=64, heads=2, kv_heads=2, mlp_hidden=192, vocabulary=100, tied=True)


class Paragraphs(Map):
    """One document a line of the files; an empty line is a document without text."""

    files: Source
    writes: ClassVar[pa.Schema] = DOCUMENT

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            rows = [
                {"id": f"{split['file']}{n}".encode().rjust(16)[-16:], "url": "", "file": split["file"], "offset": n,
                 "title": None, "text": line or None}
                for split in splits.to_pylist()
                for n, line in enumerate(Path(split["path"]).read_text().split("\n"))
            ]  # fmt: skip
            return pa.Table.from_pylist(rows, schema=DOCUMENT).append_column(REASON, pa.nulls(len(rows), pa.string()))

        return read


def sentences(count, seed):
    rng = np.random.default_rng(seed)
    words = np.array(["".join(np.random.default_rng(n).choice(list("abcdeilnorst"), 2 + n % 7)) for n in range(500)])
    return [" ".join(words[np.minimum(rng.zipf(1.4, 14), 500) - 1]) + f" </s>, {n}." for n in range(count)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three parts of documents, some without text."""
    folder = tmp_path_factory.mktemp("texts")
    for n in range(3):
        (folder / f"{n}.txt").write_text("\n".join(["", *sentences(150, n)]))
    return folder


@pytest.fixture(scope="module")
def docs(place):
    return Paragraphs(files=Source(location=str(place), part_bytes=1, label="texts"), label="docs")


@pytest.fixture(scope="module")
def graph(docs):
    tokenizer = Tokenizer(docs=docs, vocabulary=700, max_bytes=10**8)
    counts = TokenCounts(docs=docs, tokenizer=tokenizer)
    compact = CompressedTokenizer(tokenizer=tokenizer, counts=counts, shape=SHAPE, vocabulary=400, label="compact")
    packed = Pack(docs=docs, tokenizer=compact, sequence_tokens=64, token_bytes=2, seed=1)
    return tokenizer, counts, compact, packed


@pytest.fixture(scope="module")
def root(graph, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("root"))
    run(*graph, root=root)
    return root


def folder_of(root, stage):
    manifest = json.loads((Path(root) / stage.name / "manifest.json").read_text())
    assert manifest["fingerprint"] == stage.fingerprint
    return Path(root) / stage.name / stage.fingerprint[:12]


def texts_of(place):
    return [line for path in sorted(place.iterdir()) for line in path.read_text().split("\n") if line]


def test_counts_are_of_every_document_once(graph, root, place):
    tokenizer = loaded(folder_of(root, graph[0]))
    expected = np.zeros(700, np.int64)
    for text in texts_of(place):
        np.add.at(expected, tokenizer.encode(text, add_special_tokens=False).ids, 1)
    folder = folder_of(root, graph[1])
    assert (np.load(folder / "counts.npy") == expected).all()
    assert not expected[:4].any()  # "</s>" in a text is not the end of it
    told = json.loads((folder / "summary.json").read_text())
    texts = texts_of(place)
    assert told == {
        "documents": len(texts),
        "text_bytes": sum(len(text.encode()) for text in texts),
        "tokens": expected.sum(),
        "entries": 700,
    }


def test_a_compact_tokenizer_loads_as_the_large_one_did_and_gives_the_texts_back(graph, root, place):
    from transformers import AutoTokenizer

    large, compact = (AutoTokenizer.from_pretrained(folder_of(root, stage)) for stage in (graph[0], graph[2]))
    assert (len(large), len(compact)) == (700, 400)
    for name in ("unk", "bos", "eos", "pad"):
        assert getattr(compact, f"{name}_token_id") == getattr(large, f"{name}_token_id")
    for text in (*texts_of(place)[::20], "\u65e5\u672c\n\n  </s> \U0001f600 2024"):
        ids = compact(text)["input_ids"]
        assert ids[0] == 1
        assert compact.decode(ids[1:]) == text


def test_remap_leads_from_old_rows_to_new_ones(graph, root):
    remap = np.load(folder_of(root, graph[2]) / "remap.npy")
    old, new = (loaded(folder_of(root, stage)) for stage in (graph[0], graph[2]))
    assert len(remap) == 700
    assert sorted(remap[remap >= 0]) == list(range(400))
    for at, to in enumerate(remap):
        if to >= 0:
            assert new.id_to_token(int(to)) == old.id_to_token(at)


def test_the_table_tells_coverage_and_share_of_each_size(graph, root):
    told = json.loads((folder_of(root, graph[2]) / "sizes.json").read_text())
    counts = np.load(folder_of(root, graph[1]) / "counts.npy")
    remap = np.load(folder_of(root, graph[2]) / "remap.npy")
    assert told["chosen"]["vocabulary"] == 400
    assert told["chosen"]["coverage"] == pytest.approx(counts[remap >= 0].sum() / counts.sum())
    fitted = dataclasses.replace(SHAPE, vocabulary=400)
    assert told["chosen"]["share"] == pytest.approx(400 * 64 / fitted.parameters)
    assert [size["vocabulary"] for size in told["sizes"]] == list(range(320, 700, 64))
    coverages = [size["coverage"] for size in told["sizes"]]
    assert coverages == sorted(coverages)
    assert told["proposed"] == [size for size in told["sizes"] if size["share"] < 0.2][-1] != told["sizes"][-1]
    assert told["proposed"]["coverage"] > 0.9


def test_packing_takes_the_compact_one(graph, root, place):
    manifest = json.loads((Path(root) / "pack" / "manifest.json").read_text())
    tokenizer = loaded(folder_of(root, graph[2]))
    texts = texts_of(place)
    tokens = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) + 2 for text in texts)
    assert manifest["books"]["tokens"] == tokens
    assert manifest["books"]["documents"] == len(texts)


def test_without_a_number_the_rule_decides_or_says_why_not(graph, root):
    tokenizer, counts, *_ = graph
    ruled = CompressedTokenizer(tokenizer=tokenizer, counts=counts, shape=SHAPE, vocabulary=None, label="ruled")
    run(ruled, root=root)
    told = json.loads((folder_of(root, ruled) / "sizes.json").read_text())
    assert told["chosen"] == told["proposed"]
    assert loaded(folder_of(root, ruled)).get_vocab_size() == told["chosen"]["vocabulary"]
    small = dataclasses.replace(SHAPE, layers=1)
    with pytest.raises(ValueError, match=r"the smallest is 320 entries .* tie embedding and head"):
        run(dataclasses.replace(ruled, shape=small, label="small"), root=root)
    given = dataclasses.replace(ruled, shape=small, vocabulary=320, label="given")
    run(given, root=root)
    told = json.loads((folder_of(root, given) / "sizes.json").read_text())
    assert told["proposed"] is None
    assert "the smallest is 320" in told["why"]


@pytest.mark.parametrize("vocabulary", [100, 701, 0])
def test_numbers_of_entries_that_cannot_be_are_refused(graph, root, vocabulary):
    with pytest.raises(ValueError, match=r"expected 260 .* to 700"):
        run(dataclasses.replace(graph[2], vocabulary=vocabulary, label="wrong"), root=root)


def test_counts_of_another_tokenizer_are_refused(graph):
    other = Tokenizer(docs=graph[0].docs, vocabulary=600, max_bytes=10**8, label="other")
    with pytest.raises(ValueError, match="given counts of"):
        CompressedTokenizer(tokenizer=other, counts=graph[1], shape=SHAPE, vocabulary=None)


@pytest.mark.parametrize("type_", ["bpe", "unigram"])
def test_a_folder_with_a_sentencepiece_model_alone(docs, place, tmp_path, type_):
    from transformers import AutoTokenizer

    (tmp_path / "theirs").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts_of(place)),
        model_prefix=str(tmp_path / "theirs" / "tokenizer"),
        vocab_size=600,
        hard_vocab_limit=False,
        model_type=type_,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=3,
    )
    (tmp_path / "theirs" / "tokenizer.vocab").unlink()
    theirs = Source(location=str(tmp_path / "theirs"), label="theirs")
    counts = TokenCounts(docs=docs, tokenizer=theirs)
    compact = CompressedTokenizer(tokenizer=theirs, counts=counts, shape=SHAPE, vocabulary=448)
    packed = Pack(docs=docs, tokenizer=compact, sequence_tokens=64, token_bytes=2, seed=1)
    run(packed, root=str(tmp_path / "root"))
    folder = folder_of(tmp_path / "root", compact)
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.vocab_size() == len(tokenizer) == 448
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    for text in (*sentences(20, 9), "  two \n\n\U0001f600"):
        assert loaded(folder).decode(loaded(folder).encode(text).ids) == text == model.decode(model.encode(text))
        if type_ == "bpe":
            assert loaded(folder).encode(text, add_special_tokens=False).ids == model.encode(text)


def smallest(source, place):
    """The files cut as far as they can be by counts of nothing, and the remap."""
    place.mkdir()
    files = CompressedFiles.of(source)
    entries = files.entries()
    dropping = entries.dropping(np.zeros(len(entries), np.int64))
    remap = entries.remap(dropping, len(entries) - len(dropping))
    files.write(remap, place)
    return place, remap


def test_words_that_only_the_configuration_names_stay_and_move(graph, root, tmp_path):
    from transformers import AutoTokenizer

    large, theirs = folder_of(root, graph[0]), tmp_path / "theirs"
    shutil.copytree(large, theirs)
    by_length = sorted(ids(in_folder(large)).items(), key=lambda item: (-len(item[0]), item[1]))
    (pad, _), (mask, _), (added, number) = by_length[:3]
    config = json.loads((theirs / "tokenizer_config.json").read_text())
    config |= {"pad_token": pad, "added_tokens_decoder": {str(number): {"content": added}}, "add_bos_token": True}
    (theirs / "tokenizer_config.json").write_text(json.dumps(config))
    (theirs / "special_tokens_map.json").write_text(json.dumps({"mask_token": {"content": mask}}))
    place, remap = smallest(theirs, tmp_path / "compact")
    kept = ids(in_folder(place))
    assert len(kept) == remap.max() + 1 < 700
    assert specials(in_folder(place))["pad_token"] == pad in kept
    assert mask in kept
    told = json.loads((place / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert told == {str(kept[added]): {"content": added}}
    assert len(AutoTokenizer.from_pretrained(place)) == len(kept)


def test_what_files_beside_a_model_name_stays_too(place, tmp_path):
    (tmp_path / "theirs").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts_of(place)), model_prefix=str(tmp_path / "theirs" / "tokenizer"), vocab_size=600,
        model_type="bpe", byte_fallback=True, num_threads=1, minloglevel=3,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "theirs" / "tokenizer.model"))
    number = max(range(600), key=lambda one: len(model.id_to_piece(one)) * (one > 258))
    word = model.id_to_piece(number)
    config = {"pad_token": word, "add_bos_token": False, "model_max_length": 99, "tokenizer_class": "LlamaTokenizer",
              "added_tokens_decoder": {"1": {"content": "<s>"}, str(number): {"content": word}}}  # fmt: skip
    (tmp_path / "theirs" / "tokenizer_config.json").write_text(json.dumps(config))
    compact, remap = smallest(tmp_path / "theirs", tmp_path / "compact")
    told = json.loads((compact / "tokenizer_config.json").read_text())
    assert told["added_tokens_decoder"] == {"1": {"content": "<s>"}, str(remap[number]): {"content": word}}
    assert (told["model_max_length"], told["tokenizer_class"]) == (99, "PreTrainedTokenizerFast")
    assert specials(in_folder(compact)) == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": word}
    assert json.loads((compact / "special_tokens_map.json").read_text())["pad_token"] == word
    pruned = sentencepiece.SentencePieceProcessor(model_file=str(compact / "tokenizer.model"))
    assert loaded(compact).encode("abc de").ids == pruned.encode("abc de")


@dataclass
class Desk:
    """The interface of a Make's desk over the engine's finished files, which dies when it has kept so many parts."""

    folder: Path
    tokenizer: Path
    texts: list[list[str]]
    dies_at: int | None = None
    scratch: dict[str, bytes] = field(default_factory=dict)

    def parts(self, stage):
        return len(self.texts)

    def files(self, stage):
        return self.tokenizer

    def read(self, stage, part, columns):
        return pa.table({"text": pa.array(self.texts[part], pa.large_string())})

    def map(self, function, items):
        return [function(item) for item in items]

    def put(self, name, data):
        if len(self.scratch) == self.dies_at:
            raise KeyboardInterrupt
        self.scratch[name] = data

    def kept(self):
        return tuple(self.scratch)

    def get(self, name):
        return self.scratch[name]


def test_counting_goes_on_where_a_killed_run_stopped(graph, root, tmp_path):
    texts = [sentences(20, n) for n in range(4)]
    (tmp_path / "calm").mkdir()
    tokenizer = folder_of(root, graph[0])
    calm = graph[1].make(Desk(tmp_path / "calm", tokenizer, texts))
    desk = Desk(tmp_path, tokenizer, texts, dies_at=2)
    with pytest.raises(KeyboardInterrupt):
        graph[1].make(desk)
    desk.dies_at, desk.texts[0], desk.texts[1] = None, ["not read"], ["again"]
    assert graph[1].make(desk) == calm
    assert (np.load(tmp_path / "counts.npy") == np.load(tmp_path / "calm" / "counts.npy")).all()


def test_no_text_at_all_is_refused(graph, root, tmp_path):
    with pytest.raises(ValueError, match="given no text in"):
        graph[1].make(Desk(tmp_path, folder_of(root, graph[0]), [[None], []]))


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_on_ray_the_files_are_the_same(graph, root, tmp_path):
    from ray import cloudpickle

    from hare_ray.on_ray import OnRay

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
    run(graph[2], root=str(tmp_path), executor=lambda place: OnRay(place, 2))
    for stage in graph[1:3]:
        here, there = folder_of(root, stage), folder_of(tmp_path, stage)
        names = sorted(path.name for path in here.iterdir())
        assert names == sorted(path.name for path in there.iterdir())
        assert all((here / name).read_bytes() == (there / name).read_bytes() for name in names)


def test_texts_are_encoded_some_megabytes_at_a_time():
    text = pa.chunked_array([["a" * (3 << 20), None, "b" * (3 << 20)], ["c", "d" * (9 << 20), "e"]], pa.large_string())
    got = [[one[0] for one in some] for some in batches(text)]
    assert got == [["a"], ["b", "c"], ["d"], ["e"]]
    assert list(batches(pa.chunked_array([[None]], pa.large_string()))) == []

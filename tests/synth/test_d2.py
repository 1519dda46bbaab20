"""D2 from documents to checked texts on the engine, with an answer machine in place of the LLM."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from hare_ray.engine import run
from hare_ray.priors.prompts import load_prompts, load_refusals
from hare_ray.schema import DOCUMENT, REASON
from hare_ray.stage import Annotate, Keep, Make, Map, Table
from hare_ray.synth.diversity import Diversity
from hare_ray.synth.prompt import GENERATED
from hare_ray.synth.seeds import Seeds
from hare_ray.synth.textbook import Textbook, TextbookPrompts
from hare_ray.synth.verify import Verify

SENTENCES = (
    "Lighthouses were built where currents and rocks had cost ships for centuries.",
    "Their keepers trimmed the wick every four hours and wrote the weather into a book.",
    "Lenses of many thin prisms later threw the light of one lamp over twenty miles.",
    "Electric motors and radio made most of the keepers leave before the century ended.",
)


class Counts(Make):
    def make(self, desk):
        for part, rows in enumerate((0, 5, 8)):
            (desk.folder / f"part-{part}").write_text(str(rows))
        return {}


class Docs(Map):
    files: Make
    writes = pa.schema([*DOCUMENT, pa.field("cluster", pa.int32(), nullable=False)])

    def prepare(self, files):
        folder = files(self.files)

        def made(splits):
            names = [(name, n) for name in splits["file"].to_pylist() for n in range(int((folder / name).read_text()))]
            rows = [
                {
                    "id": xxhash.xxh3_128_digest(f"{name} {n}".encode()),
                    "url": f"https://{name}.example/{n}",
                    "file": name,
                    "offset": n,
                    "text": f"Page {n} is about the sea. " * 30,
                    "cluster": n % 2,
                }
                for name, n in names
            ]
            return pa.Table.from_pylist(rows, schema=pa.schema([*self.writes, REASON]))

        return made


class Answers(Annotate):
    """Good and bad answers in turn."""

    prompts: Table
    writes = GENERATED

    def prepare(self, files):
        answers = (
            (" ".join(SENTENCES), "stop"),
            (" ".join(SENTENCES) + " And then the", "length"),
            (None, "error: no route to host"),
            ("no end of a sentence", "length"),
            ("I'm sorry, but I cannot write that.", "stop"),
        )

        def answer(prompts):
            rows = [answers[n % len(answers)] for n in range(len(prompts))]
            columns = [[text for text, _ in rows], [finish for _, finish in rows], [9] * len(rows), [9] * len(rows)]
            return pa.table([*columns, [bytes(16)] * len(rows)], schema=self.writes)

        return answer


def asked():
    docs, templates = Docs(files=Counts()), load_prompts(("web", "wiki"))
    seeds = Seeds(docs=docs, per_topic=20, total=None, salt="d2", kinds=templates.kinds)
    return TextbookPrompts(docs=docs, seeds=seeds, templates=templates, prompts_per_seed=2, max_seed_words=50)


def d2(prompts=None):
    prompts = prompts or asked()
    texts = Textbook(prompts=prompts, answers=Answers(prompts=prompts))
    checks = Verify(
        docs=texts, min_words=20, max_words=1500, min_tokens=9, max_tokens=None, max_boilerplate=0,
        must_end_sentence=True, refusals=load_refusals(), max_seed_overlap=0.2, max_repetition=0.2, max_word_share=0.2,
        min_variety=0.2, variety_words=200, max_letterless_share=0.3,
    )  # fmt: skip
    return Keep(label="d2", docs=texts, verdicts=(checks,), carry=("words",))


def test_from_documents_to_checked_texts(tmp_path):
    run(d2(), root=str(tmp_path / "one"))
    run(d2(), root=str(tmp_path / "two"))
    files = sorted((tmp_path / "one" / "d2").glob("*/part*.parquet"))
    assert len(files) == 3
    for file in files:
        assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes()
    kept = pa.concat_tables([pq.read_table(file) for file in files])
    assert [len(pq.read_table(file)) for file in files] == [0, 4, 7]
    assert set(kept["text"].to_pylist()) == {" ".join(SENTENCES)}
    assert set(kept["words"].to_pylist()) == {len(" ".join(SENTENCES).split())}
    assert all(seed.endswith(".") and len(seed.split()) <= 50 for seed in kept["seed"].to_pylist())
    assert all("#web_" in url for url in kept["url"].to_pylist())
    assert all(variant.count(" / ") == 1 for variant in kept["variant"].to_pylist())
    assert set(kept["tokens"].to_pylist()) == {9}
    assert len(set(kept["id"].to_pylist())) == len(kept)


def test_what_was_refused_is_in_the_ledger(tmp_path):
    run(d2(), root=str(tmp_path))
    reasons = [
        (row["reason"], row["detail"], row["snippet"])
        for file in tmp_path.glob("*/*/ledger-*.parquet")
        for row in pq.read_table(file).to_pylist()
    ]
    assert set(reasons) == {
        ("no_answer", "error: no route to host", None),
        ("cut_to_nothing", None, "no end of a sentence"),
        ("refusal", "I'm sorry but I cannot", "I'm sorry, but I cannot write that."),
    }
    assert len(reasons) == 26 - 11


def test_how_diverse_they_are_is_written_down(tmp_path):
    prompts = asked()
    run(Diversity(prompts=prompts, texts=d2(prompts), embeddings=None, sample=100), root=str(tmp_path))
    (file,) = (tmp_path / "diversity").glob("*/diversity.json")
    found = json.loads(file.read_text())
    assert found["combinations"]["prompts"] == found["seeds"]["rows"] == 26
    assert found["combinations"]["reached"] == 25
    assert found["combinations"]["evenness"]["combination"] > 0.98
    assert found["combinations"]["evenness"]["template"] > 0.98
    assert found["texts"]["rows"] == 11
    assert found["texts"]["self_bleu_4"] == found["texts"]["overlap_4"] == 1.0

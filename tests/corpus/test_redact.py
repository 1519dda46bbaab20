import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.corpus.blocklist import BlockList
from hare_ray.corpus.pii import KINDS
from hare_ray.corpus.redact import Placeholder, Redact
from hare_ray.engine import run
from hare_ray.schema import DOCUMENT, REASON, conform
from hare_ray.stage import Keep, Source, Table
from tests.frame.stages import Lines

TAGS = tuple(Placeholder(kind, f"<{kind}>") for kind in KINDS)
QUICK = settings(max_examples=150, deadline=None)


class Docs(Table):
    writes = pa.schema([*DOCUMENT, pa.field("words", pa.int32())])


def documents(texts):
    count = len(texts)
    values = {
        "id": [bytes(16)] * count,
        "url": ["u"] * count,
        "file": ["f"] * count,
        "offset": list(range(count)),
        "text": texts,
        "words": [7] * count,
    }
    return pa.table(
        [pa.array(values.get(field.name, [None] * count), field.type) for field in Docs.writes], Docs.writes
    )


def redacting(placeholders):
    stage = Redact(docs=Docs(), placeholders=placeholders)
    return stage, stage.prepare(lambda stage: pytest.fail("asks for files"))


TAGGING = redacting(TAGS)


def redacted(texts):
    return TAGGING[1](documents(texts))


def test_every_hit_gives_way_to_its_placeholder():
    text = "Write to ann@b.example, call (415) 555-2671 or +44 20 7946 0958. \u00c4 8.8.8.8 \u00e4"
    table = redacted([text, None, "", "nothing"])
    assert table["text"].to_pylist() == [
        "Write to <email>, call <phone> or <phone>. \u00c4 <address> \u00e4", None, "", "nothing",
    ]  # fmt: skip
    assert table["redacted_phone"].to_pylist() == [2, 0, 0, 0]
    assert table["words"].to_pylist() == [7] * 4
    assert TAGGING[0].counts(table) == {
        "redacted_email": 1, "redacted_phone": 2, "redacted_address": 1, "redacted_iban": 0, "redacted_card": 0,
        "redacted_secret": 0,
    }  # fmt: skip
    assert table[REASON.name].null_count == 4
    assert conform(table, TAGGING[0].schema(), "it").num_rows == 4


def test_only_the_kinds_asked_for():
    stage, function = redacting((Placeholder("email", "email@example.com"),))
    table = function(documents(["a@b.example at 8.8.8.8"]))
    assert table["text"].to_pylist() == ["email@example.com at 8.8.8.8"]
    assert stage.schema().names == [*Docs.writes.names, "redacted_email"]


def test_what_is_a_hit_only_without_its_neighbour_goes_too():
    table = redacted(["x", "1.2.3.4.415-555-2671"])
    assert table["text"].to_pylist() == ["x", "<address>.<phone>"]
    assert table["redacted_address"].to_pylist() == [0, 1]


def test_no_rows():
    table = redacted([])
    assert len(conform(table, TAGGING[0].schema(), "it")) == 0
    assert set(TAGGING[0].counts(table).values()) == {0}


def test_a_second_stage_counts_its_own():
    first = TAGGING[0]
    again = Redact(label="again", docs=first, placeholders=TAGS)
    once = conform(redacted(["a@b.example"]), first.schema(), "it")
    twice = conform(again.prepare(lambda stage: pytest.fail("asks"))(once), again.schema(), "it")
    assert twice["text"].equals(once["text"])
    assert again.counts(twice)["redacted_email"] == 0


def test_the_books_of_a_run_hold_the_sums(tmp_path):
    (tmp_path / "in").mkdir()
    for name, lines in (("a", ["a@b.example", "plain", "8.8.8.8 c@d.example"]), ("b", ["e@f.example", "gone", ""])):
        (tmp_path / "in" / f"{name}.txt").write_text("\n".join(lines))
    (tmp_path / "blocked.txt").write_text("example.org/b.txt/1")
    docs = Lines(files=Source(label="texts", location=str(tmp_path / "in"), part_bytes=1))
    blocked = BlockList(docs=docs, lists=Source(label="lists", location=str(tmp_path / "blocked.txt")), banned_words=())
    kept = Keep(docs=docs, verdicts=(blocked,))
    manifests = run(Redact(docs=kept, placeholders=TAGS[:3]), root=str(tmp_path / "out"))
    books = manifests["redact"]["books"]
    counted = {name: books[f"redacted_{name}"] for name in ("email", "phone", "address")}
    assert counted == {"email": 3, "phone": 0, "address": 1}
    assert books["out"] == 4


@QUICK
@given(st.lists(st.text(alphabet=st.sampled_from("1245 -.+()@:_aAbco<>\u00e9\n"), max_size=80), max_size=4))
def test_twice_is_once_and_a_text_without_hits_keeps_its_bytes(texts):
    for _, function in (TAGGING, redacting((Placeholder("email", "me@example.com"), Placeholder("phone", "[phone]")))):
        once = function(documents(texts))
        assert function(once.select(Docs.writes.names))["text"].equals(once["text"])
        counted = sum(sum(once[name].to_pylist()) for name in once.column_names if name.startswith("redacted_"))
        assert (once["text"].to_pylist() == texts) == (counted == 0)


@pytest.mark.parametrize(
    ("placeholders", "message"),
    [
        ((), "given placeholders for"),
        ((Placeholder("mail", "<mail>"),), "each at most once of"),
        ((TAGS[0], TAGS[0]), "each at most once of"),
    ],
)
def test_wrong_kinds_are_refused(placeholders, message):
    with pytest.raises(ValueError, match=message):
        Redact(docs=Docs(), placeholders=placeholders)


def test_a_placeholder_that_is_a_hit_is_refused():
    with pytest.raises(ValueError, match="taken for a hit of kind email"):
        redacting((Placeholder("email", "someone@b.example"),))

import pyarrow as pa
import pytest

from hare_ray.corpus.language import NOT_WANTED, SEEN_CHARS, UNSURE, Language
from hare_ray.schema import DOCUMENT, conform
from hare_ray.stage import Table

ENGLISH = "The committee said on Friday that it would publish the whole report before the end of the year."
GERMAN = "Der Ausschuss teilte am Freitag mit, dass er den ganzen Bericht noch in diesem Jahr ver\u00f6ffentlicht."
FRENCH = "Le comit\u00e9 a d\u00e9clar\u00e9 vendredi qu'il publierait l'ensemble du rapport avant No\u00ebl."


class Docs(Table):
    writes = DOCUMENT


@pytest.fixture(scope="module")
def identify():
    stage = Language(docs=Docs(), keep=("en", "de"), min_score=0.5)
    function = stage.prepare(lambda stage: pytest.fail("asks for files"))
    return lambda texts: conform(function(pa.table({"text": pa.array(texts, pa.large_string())})), stage.schema(), "it")


def test_languages_are_told_apart(identify):
    table = identify([ENGLISH, GERMAN, FRENCH])
    assert table["lang"].to_pylist() == ["en", "de", "fr"]
    assert table["reason"].to_pylist() == [None, None, NOT_WANTED]
    assert min(table["lang_score"].to_pylist()) > 0.8


def test_text_that_is_no_language_is_unsure(identify):
    table = identify(["1234 5678", "", "qx zzkw vv"])
    assert table["reason"].to_pylist() == [UNSURE] * 3


def test_missing_text_gets_nulls(identify):
    table = identify([None, ENGLISH])
    assert table.slice(0, 1).to_pylist() == [{"lang": None, "lang_score": None, "reason": None}]


def test_line_ends_change_nothing(identify):
    one, other = identify([ENGLISH, ENGLISH.replace(" ", "\n")]).to_pylist()
    assert one == other


def test_only_the_beginning_is_looked_at(identify):
    start = (ENGLISH + " ") * (SEEN_CHARS // len(ENGLISH) + 1)
    one, other = identify([start, start + GERMAN * 50]).to_pylist()
    assert one == other


def test_rows_do_not_depend_on_their_neighbours(identify):
    texts = [ENGLISH, GERMAN, None, FRENCH, "x"]
    together = identify(texts).to_pylist()
    assert together == [row for text in texts for row in identify([text]).to_pylist()]
    assert identify([]).num_rows == 0


def test_shouting_is_read_in_lower_case(identify):
    assert identify([ENGLISH.upper()])["lang"].to_pylist() == ["en"]

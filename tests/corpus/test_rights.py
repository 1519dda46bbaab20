import pyarrow as pa
import pytest

from hare_ray.corpus.rights import NOT_ALLOWED, UNKNOWN, Rights
from hare_ray.schema import ID, conform
from hare_ray.stage import Table

BY = (r"https?://creativecommons\.org/licenses/by/.*", "cc[- ]by([- ][0-9.]+)?")


class Docs(Table):
    writes = pa.schema([ID, pa.field("license", pa.string()), pa.field("robots", pa.string())])


def judged(rows, allow=BY, require=False):
    stage = Rights(
        docs=Docs(), refuse_robots=("noai", "noindex"), allow_licenses=allow, require_license=require
    )  # fmt: skip
    function = stage.prepare(lambda stage: pytest.fail("asks for files"))
    robots, licences = zip(*rows, strict=True) if rows else ((), ())
    table = pa.table({"robots": pa.array(robots, pa.string()), "license": pa.array(licences, pa.string())})
    return [tuple(row.values()) for row in conform(function(table), stage.schema(), "it").to_pylist()]


@pytest.mark.parametrize(
    ("robots", "reason"),
    [
        ("noindex, NOAI", "robots_noai"),
        ("googlebot: noindex", "robots_noindex"),
        ("all,noindex", "robots_noindex"),
        ("noimageai; noaix, no-noindex", None),
        ("", None),
        (None, None),
    ],
)
def test_robots(robots, reason):
    assert judged([(robots, None)]) == [(reason, robots if reason else None)]


@pytest.mark.parametrize(
    ("licence", "reason"),
    [
        ("CC BY 4.0", None),
        ("cc-by", None),
        (" https://creativecommons.org/licenses/by/4.0/ ", None),
        ("CC BY-NC 4.0", NOT_ALLOWED),
        ("https://creativecommons.org/licenses/by-nc/4.0/", NOT_ALLOWED),
        ("All rights reserved", NOT_ALLOWED),
    ],
)
def test_licences(licence, reason):
    assert judged([(None, licence)]) == [(reason, licence if reason else None)]


def test_a_licence_can_be_required_and_any_or_none_allowed():
    rows = [(None, None), (None, "MIT"), ("noai", None)]
    assert [reason for reason, _ in judged(rows, require=True)] == [UNKNOWN, NOT_ALLOWED, "robots_noai"]
    assert [reason for reason, _ in judged(rows, allow=None)] == [None, None, "robots_noai"]
    assert [reason for reason, _ in judged(rows, allow=())] == [None, NOT_ALLOWED, "robots_noai"]
    assert judged([]) == []


def test_wrong_stages_are_refused():
    class Plain(Table):
        writes = pa.schema([ID])

    with pytest.raises(ValueError, match=r"no \['license', 'robots'\]"):
        Rights(docs=Plain(), refuse_robots=(), allow_licenses=None, require_license=False)
    with pytest.raises(ValueError, match="expected directives"):
        Rights(docs=Docs(), refuse_robots=("No AI",), allow_licenses=None, require_license=False)

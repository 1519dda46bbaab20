"""The promises of a run, with the plain executor: the same functions that run on Ray."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hare_ray.engine import FailedError, Settings, run
from hare_ray.inspect import examples, why
from hare_ray.manifest import StaleError, load_all
from hare_ray.stage import Keep, Make, Needs, Rebalance, Source, Stage, upstream
from hare_ray.store import Root
from tests.frame.stages import Count, FirstOfKind, Lines, Longer, Share


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for file in range(4):
        lines = [f"document {number} of file {file}" for number in range(10)]
        (folder / f"{file}.txt").write_text("\n".join([*lines, "", "tiny", "the same text in every file"]))
    return folder


def graph(crawl: Path, min_chars: int = 5, unit: str = "characters") -> Stage:
    source = Source(label="crawl", location=str(crawl), part_bytes=100)
    docs = Lines(files=source)
    longer = Longer(docs=docs, min_chars=min_chars)
    clean = Keep(label="clean", docs=docs, verdicts=(longer,), carry=("chars",))
    unique = Keep(label="unique", docs=clean, verdicts=(FirstOfKind(docs=clean),))
    return Share(docs=unique, count=Count(docs=unique, unit=unit))


def texts(root: Path, name: str) -> list[str]:
    place = next((root / name).glob("*/"))
    return [t for part in sorted(place.glob("part-*.parquet")) for t in pq.read_table(part)["text"].to_pylist()]


def test_a_run_keeps_drops_and_counts_what_it_should(crawl, tmp_path):
    root = tmp_path / "run"
    manifests = run(graph(crawl), root=str(root))
    assert len(texts(root, "clean")) == 44
    assert len(texts(root, "unique")) == 41
    books = manifests["clean"]["members"][0]["books"]
    assert (books["made"], books["out"], books["dropped"]) == (52, 48, {"empty": 4})
    assert manifests["clean"]["books"]["dropped"] == {"short": 4}
    assert manifests["unique"]["books"]["dropped"] == {"repeated": 3}
    assert manifests["clean"]["books"]["characters"] == sum(map(len, texts(root, "clean")))
    shares = [s for p in sorted((root / "share").rglob("*.parquet")) for s in pq.read_table(p)["share"].to_pylist()]
    assert sum(shares) == pytest.approx(1)


def test_what_passes_on_is_not_written_and_what_is_read_elsewhere_is(crawl, tmp_path):
    run(graph(crawl), root=str(tmp_path / "run"))
    written = {path.parent.name for path in (tmp_path / "run").glob("*/manifest.json")}
    assert written == {"crawl", "clean", "first_of_kind", "unique", "count", "share"}


def test_base_row_points_to_the_row_of_the_base_before(crawl, tmp_path):
    run(graph(crawl), root=str(tmp_path / "run"))
    clean, unique = (next((tmp_path / "run" / n).glob("*/part-00003.parquet")) for n in ("clean", "unique"))
    before, after = pq.read_table(clean), pq.read_table(unique)
    assert len(after) < len(before)
    assert before.take(after["base_row"])["id"].equals(after["id"])


def test_a_second_run_does_nothing_and_starts_no_executor(crawl, tmp_path):
    run(graph(crawl), root=str(tmp_path / "run"))

    def never(root):
        raise AssertionError("an executor was asked for")

    assert run(graph(crawl), root=str(tmp_path / "run"), executor=never)


def test_another_recipe_is_refused_with_field_values_and_ways_out(crawl, tmp_path):
    run(graph(crawl), root=str(tmp_path / "run"))
    with pytest.raises(StaleError, match=r"min_chars: 5 -> 7.*Put it back.*--redo longer.*--reuse"):
        run(graph(crawl, min_chars=7), root=str(tmp_path / "run"))


def test_redo_makes_the_stage_and_what_follows_and_nothing_else(crawl, tmp_path):
    root = tmp_path / "run"
    run(graph(crawl), root=str(root))
    before = {n: m["run"]["started"] for n, m in load_all(Root(str(root))).items()}
    inodes = {p: p.stat().st_ino for p in (root / "clean").rglob("*.parquet")}
    run(graph(crawl), root=str(root), settings=Settings(redo=("count",)))
    assert {p: p.stat().st_ino for p in (root / "clean").rglob("*.parquet")} == inodes
    assert before.keys() == load_all(Root(str(root))).keys()
    run(graph(crawl, min_chars=20), root=str(root), settings=Settings(redo=("longer",)))
    assert all(len(text) >= 20 for text in texts(root, "clean"))
    with pytest.raises(ValueError, match="no such stage"):
        run(graph(crawl), root=str(root), settings=Settings(redo=("longest",)))


def test_reuse_takes_over_equal_stages_and_makes_the_rest(crawl, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    run(graph(crawl), root=str(old))
    inputs = graph(crawl)
    assert isinstance(inputs, Share)
    other = Longer(label="other", docs=next(s for s in upstream(inputs) if s.name == "clean"), min_chars=27)
    manifests = run(other, root=str(new), settings=Settings(reuse=str(old)))
    assert manifests["clean"]["location"] == str(old)
    assert not (new / "clean" / manifests["clean"]["fingerprint"][:12]).exists()
    assert manifests["other"]["books"]["rows"] == 44
    with pytest.raises(ValueError, match="holds no finished stage"):
        run(other, root=str(tmp_path / "third"), settings=Settings(reuse=str(tmp_path / "nothing")))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda crawl: (crawl / "9.txt").write_text("one more"), "added: 9.txt"),
        (lambda crawl: (crawl / "2.txt").unlink(), "removed: 2.txt"),
        (lambda crawl: (crawl / "1.txt").write_text("another"), "changed: 1.txt"),
    ],
)
def test_a_changed_input_file_is_named(crawl, tmp_path, change, told):
    run(graph(crawl), root=str(tmp_path / "run"))
    change(crawl)
    with pytest.raises(StaleError, match=told):
        run(graph(crawl), root=str(tmp_path / "run"))


def test_parts_of_an_unfinished_run_of_another_recipe_are_never_served(crawl, tmp_path):
    root, fresh = tmp_path / "run", tmp_path / "fresh"
    (crawl / "3.txt").write_text("raise judge")
    with pytest.raises(FailedError, match=r"clean: 1 of 4 parts failed.*part 3: ValueError: a fault of the stage"):
        run(graph(crawl, min_chars=5), root=str(root))
    assert len(list(root.glob("clean/*/part-*.json"))) == 3
    (crawl / "3.txt").write_text("now it is fine, really")
    run(graph(crawl, min_chars=27), root=str(root), settings=Settings(redo=("crawl",)))
    run(graph(crawl, min_chars=27), root=str(fresh))
    assert texts(root, "clean") == texts(fresh, "clean")


def test_a_repaired_run_does_only_the_part_that_failed(crawl, tmp_path, monkeypatch):
    root = tmp_path / "run"
    (crawl / "3.txt").write_text("raise judge")
    with pytest.raises(FailedError):
        run(graph(crawl), root=str(root))
    before = {p.name: p.stat().st_ino for p in root.glob("clean/*/part-*.parquet")}
    monkeypatch.setattr("tests.frame.stages.FAULT", "never said")
    monkeypatch.setattr("hare_ray.work._prepared", {})
    run(graph(crawl), root=str(root))
    after = {p.name: p.stat().st_ino for p in root.glob("clean/*/part-*.parquet")}
    assert len(before) == 3
    assert before.items() < after.items()


def test_resources_change_nothing(crawl, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run(graph(crawl), root=str(one))
    run(graph(crawl), root=str(two), settings=Settings(needs={"clean": Needs(cpus=0.5), "share": Needs(actors=1)}))
    files = sorted(path.relative_to(one) for path in one.rglob("*.parquet"))
    assert len(files) > 10
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)


def test_rebalance_joins_neighbours_in_order(crawl, tmp_path):
    docs = Lines(files=Source(label="crawl", location=str(crawl), part_bytes=100))
    small = Rebalance(docs=docs, part_bytes=1)
    whole = Rebalance(docs=docs, part_bytes=1 << 20, label="whole")
    run(small, root=str(tmp_path / "run"))
    run(whole, root=str(tmp_path / "run"))
    assert len(list((tmp_path / "run" / "rebalance").rglob("part-*.parquet"))) == 4
    assert len(list((tmp_path / "run" / "whole").rglob("part-*.parquet"))) == 1
    assert texts(tmp_path / "run", "rebalance") == texts(tmp_path / "run", "whole") == texts(tmp_path / "run", "lines")


def test_why_follows_a_page_to_its_end(crawl, tmp_path):
    root = tmp_path / "run"
    run(graph(crawl), root=str(root))
    told = why(Root(str(root)), "https://example.org/0.txt/11")
    assert [(f.stage, f.what) for f in told] == [("longer", "dropped: short")]
    told = why(Root(str(root)), "https://example.org/1.txt/12")
    assert ("first_of_kind", "dropped: repeated") in [(f.stage, f.what) for f in told]
    told = why(Root(str(root)), "https://example.org/1.txt/3")
    assert [f.stage for f in told] == ["clean", "first_of_kind", "unique", "share"]
    assert why(Root(str(root)), "https://example.org/unknown") == []


def test_show_gives_rows_kept_and_rows_dropped_with_their_text(crawl, tmp_path):
    root = Root(str(tmp_path / "run"))
    run(graph(crawl), root=root.url)
    assert len(examples(root, "clean", None, 3)) == 3
    repeated = examples(root, "first_of_kind", "repeated", 5)
    assert [row["snippet"] for row in repeated] == ["the same text in every file"] * 3
    with pytest.raises(ValueError, match=r"there are .*longer: short"):
        examples(root, "longer", "unheard of", 5)
    with pytest.raises(ValueError, match="has no table 'nothing'"):
        examples(root, "nothing", None, 5)


def test_an_opinion_of_the_wrong_length_is_refused(crawl, tmp_path, monkeypatch):
    monkeypatch.setattr("hare_ray.work._prepared", {})
    judge = Longer.judge
    monkeypatch.setattr(Longer, "judge", lambda self, docs: judge(self, docs).slice(1))
    with pytest.raises(FailedError, match="an opinion has one row per row"):
        run(graph(crawl), root=str(tmp_path / "run"))


def test_a_map_that_loses_rows_is_refused(crawl, tmp_path, monkeypatch):
    class Half(Lines):
        def prepare(self, files):
            return lambda docs: self.read_rows(docs)

        def read_rows(self, docs):
            return docs.slice(1).append_column("reason", pa.nulls(len(docs) - 1, pa.string()))

    docs = Lines(files=Source(label="crawl", location=str(crawl)))
    with pytest.raises(FailedError, match="lost 1 of"):
        run(Half(files=docs), root=str(tmp_path / "run"))


@pytest.mark.parametrize(("text", "told"), [("", "no record to read"), ("tiny", "dropped: .*'short': 1")])
def test_a_last_stage_without_documents_is_an_error_also_the_second_time(tmp_path, text, told):
    (tmp_path / "a.txt").write_text(text)
    docs = Lines(files=Source(location=str(tmp_path / "a.txt")))
    clean = Keep(label="clean", docs=docs, verdicts=(Longer(docs=docs, min_chars=9),))
    for _ in range(2):
        with pytest.raises(ValueError, match=told):
            run(clean, root=str(tmp_path / "run"))


def test_the_ledger_tells_the_detail_of_the_verdict_that_judged(crawl, tmp_path):
    class Tells(Longer):
        writes = pa.schema([*Longer.writes, pa.field("detail", pa.string())])

        def judge(self, docs):
            found = Longer.judge(self, docs)
            return found.append_column("detail", pa.array(["told"] * len(found)))

    docs = Lines(files=Source(label="crawl", location=str(crawl)))
    silent, tells = Longer(docs=docs, min_chars=5), Tells(docs=docs, min_chars=26)
    clean = Keep(label="clean", docs=docs, verdicts=(silent, tells))
    run(clean, root=str(tmp_path / "run"))
    ledgers = [pq.read_table(path) for path in (tmp_path / "run" / "clean").rglob("ledger-*.parquet")]
    rows = [row for ledger in ledgers for row in ledger.to_pylist()]
    assert {row["detail"] for row in rows if row["stage"] == "longer"} == {None}
    assert {row["detail"] for row in rows if row["stage"] == "tells"} == {"told"}
    assert {row["snippet"] for row in rows if row["stage"] == "longer"} == {"tiny"}


def test_a_redo_that_is_refused_deletes_nothing(crawl, tmp_path):
    root = tmp_path / "run"
    run(graph(crawl), root=str(root))
    before = sorted(path for path in root.rglob("*") if path.name != ".lock")
    with pytest.raises(StaleError, match="min_chars"):
        run(graph(crawl, min_chars=7), root=str(root), settings=Settings(redo=("share",)))
    with pytest.raises(ValueError, match="holds no finished stage"):
        run(graph(crawl), root=str(root), settings=Settings(redo=("share",), reuse=str(tmp_path / "none")))
    assert sorted(path for path in root.rglob("*") if path.name != ".lock") == before


def test_a_redo_that_was_stopped_goes_on_with_the_same_command(crawl, tmp_path, monkeypatch):
    root, again = tmp_path / "run", Settings(redo=("clean",))
    run(graph(crawl), root=str(root))
    with monkeypatch.context() as patch:
        patch.setattr(Count, "make", lambda self, desk: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(graph(crawl), root=str(root), settings=again)
    made = {path: path.stat().st_mtime_ns for path in root.glob("clean/*/*.parquet")}
    run(graph(crawl), root=str(root), settings=again)
    assert {path: path.stat().st_mtime_ns for path in root.glob("clean/*/*.parquet")} == made
    run(graph(crawl), root=str(root), settings=again)
    assert {path: path.stat().st_mtime_ns for path in root.glob("clean/*/*.parquet")} != made


def test_manifests_are_json_a_person_can_read(crawl, tmp_path):
    run(graph(crawl), root=str(tmp_path / "run"))
    text = (tmp_path / "run" / "clean" / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["recipe"]["fields"]["carry"] == ["chars"]
    assert {"seconds", "machine", "versions", "peak_mib"} <= manifest["run"].keys()
    assert text.count("\n") > 20


def test_a_source_is_the_files_of_its_listing_not_all_of_their_folder(crawl, tmp_path):
    class Names(Make):
        source: Source

        def make(self, desk):
            assert all((desk.files(self.source) / name).is_file() for name in desk.names(self.source))
            (desk.folder / "names.txt").write_text(" ".join(desk.names(self.source)))
            return {"files": len(desk.names(self.source))}

    source = Source(label="crawl", location=str(crawl / "[12].txt"))
    manifests = run(Names(source=source), root=str(tmp_path / "run"))
    assert manifests["names"]["books"] == {"files": 2}
    assert next((tmp_path / "run" / "names").glob("*/names.txt")).read_text() == "1.txt 2.txt"


def test_a_package_that_is_missing_is_named_before_anything_runs(crawl, tmp_path):
    class Wanting(Lines):
        imports = ("no_such_package",)

    docs = Wanting(files=Source(label="crawl", location=str(crawl)))
    with pytest.raises(ModuleNotFoundError, match="needs no_such_package, which is not installed") as told:
        run(docs, root=str(tmp_path / "run"))
    assert told.value.name == "no_such_package"
    assert not (tmp_path / "run" / "wanting").exists()


def test_an_empty_corpus_says_where_it_became_empty_also_the_second_time(crawl, tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match=r"clean kept no document.*'short': 48.*--redo clean"):
            run(graph(crawl, min_chars=1000), root=str(tmp_path / "run"))


def test_a_damaged_manifest_is_named_with_a_cure_that_works(crawl, tmp_path):
    root = tmp_path / "run"
    run(graph(crawl), root=str(root))
    manifest = root / "clean" / "manifest.json"
    manifest.write_text(manifest.read_text()[:100])
    with pytest.raises(ValueError, match=r"clean/manifest.json is damaged .*delete it and run again"):
        run(graph(crawl), root=str(root))
    manifest.unlink()
    before = {p: p.stat().st_ino for p in root.glob("clean/*/*.parquet")}
    run(graph(crawl), root=str(root))
    assert {p: p.stat().st_ino for p in root.glob("clean/*/*.parquet")} == before


def test_a_part_that_is_gone_is_named_with_a_cure(crawl, tmp_path):
    root = tmp_path / "run"
    run(graph(crawl), root=str(root))
    next(root.glob("clean/*/part-00002.parquet")).unlink()
    with pytest.raises(ValueError, match=r"part-00002.parquet is gone.*--redo clean"):
        run(graph(crawl), root=str(root), settings=Settings(redo=("first_of_kind",)))
    run(graph(crawl), root=str(root), settings=Settings(redo=("clean",)))


def test_a_redo_that_stopped_on_a_wrong_number_goes_on_with_the_right_one(crawl, tmp_path):
    root, again = tmp_path / "run", Settings(redo=("longer",))
    run(graph(crawl), root=str(root))
    with pytest.raises(ValueError, match="clean kept no document"):
        run(graph(crawl, min_chars=1000), root=str(root), settings=again)
    run(graph(crawl, min_chars=7), root=str(root), settings=again)
    assert min(map(len, texts(root, "clean"))) >= 7


def test_what_is_redone_is_not_taken_over_from_another_root(crawl, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        run(graph(crawl), root=str(root))
    manifests = run(graph(crawl), root=str(two), settings=Settings(redo=("clean",), reuse=str(one)))
    assert all("location" not in manifest for manifest in manifests.values())


def test_the_base_of_a_written_opinion_is_written_with_its_ledger(crawl, tmp_path):
    docs = Lines(files=Source(label="crawl", location=str(crawl)))
    manifests = run(FirstOfKind(docs=docs), Longer(docs=docs, min_chars=5), root=str(tmp_path / "run"))
    assert manifests["lines"]["books"]["dropped"] == {"empty": 4}
    assert manifests["longer"]["books"]["rows"] == manifests["lines"]["books"]["out"] == 48

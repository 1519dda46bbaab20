"""The page about a run of the real engine: its numbers are the manifests', its texts are escaped, nothing is loaded."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hare_ray import engine
from hare_ray.report import render, write
from hare_ray.report.funnel import funnel
from hare_ray.report.lineage import chain
from hare_ray.report.reading import Run
from hare_ray.report.tally import tally
from tests.report.pages import EVIL, NAMES, Reader, manifests, pages, plain, recipe, section, tiles


def test_the_page_is_well_formed_and_loads_nothing(html: str) -> None:
    reader = Reader(html)
    assert reader.open == []
    assert not [a for a in reader.attributes if a[1] in ("src", "srcset", "data", "poster", "action")]
    assert {tag for tag, key, _ in reader.attributes if key == "href"} == {"a"}
    assert "<link" not in html
    assert not re.search(r"@import|url\((?!#)", html)
    policy = next(value for tag, key, value in reader.attributes if key == "content" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_every_reason_is_on_the_page_with_the_count_of_the_books(whole: Path, html: str) -> None:
    text = section(html, "funnel")
    drops = re.findall(r'<code class="code">(\w+)</code>\s*<span class="number">([\d,]+)</span>', text)
    expected = {}
    for manifest in manifests(whole).values():
        for book in (manifest, *manifest.get("members", ())):
            expected |= book.get("books", {}).get("dropped", {})
    assert {reason: int(count.replace(",", "")) for reason, count in drops} == expected
    assert expected["no_text"] == 4
    assert expected["other_language"] == 9
    assert expected["exact_duplicate"] == 3
    assert {"boilerplate", "filler", "leaked_ngram", "below_quality", "over_topic_cap"} < set(expected)


def test_the_steps_lead_from_the_crawl_to_d1_and_balance(whole: Path) -> None:
    found = funnel(Run.of(str(whole)))
    assert [step.name for step in found.steps] == ["read", "clean", "unique", "leak_free", "d1"]
    assert found.source == "crawl"
    assert found.crawled == len(pages())
    for before, after in zip(found.steps, found.steps[1:], strict=False):
        assert after.rows_in == before.rows_out
    assert all(step.rows_in == step.rows_out + step.dropped for step in found.steps)


def test_examples_are_of_their_reason_with_the_beginning_of_their_text(whole: Path) -> None:
    drops = {drop.reason: drop for step in funnel(Run.of(str(whole))).steps for drop in step.drops}
    assert len(drops["other_language"].examples) == 5
    assert drops["other_language"].stages == ("language",)
    assert {example.detail for example in drops["other_language"].examples} == {"fr"}
    assert all((example.snippet or "").startswith("lingua fr") for example in drops["other_language"].examples)
    assert {example.snippet for example in drops["no_text"].examples} == {None}
    copies = drops["exact_duplicate"].examples
    assert {example.url for example in copies} <= {f"https://example.org/{n}" for n in (5, 400, 401, 402)}
    assert {example.snippet for example in copies} == {pages()[5]["text"]}
    assert [example.id for example in copies] == sorted(example.id for example in copies)


def test_key_numbers_are_those_of_the_manifests(whole: Path, html: str) -> None:
    shown = {label: figure for label, (figure, _) in tiles(html).items()}
    d1 = manifests(whole)["d1"]
    assert shown["Pages crawled"] == str(len(pages()))
    assert shown["Documents in D1"] == str(d1["books"]["out"])
    assert shown["Characters in D1"] == f"{d1['books']['characters']:,}"
    assert shown["Topics"] == "3"
    assert shown["Leaks removed"] == "3"
    assert shown["Machine"] == f"{d1['run']['machine']['cores']} cores"


def test_topics_before_and_after_are_the_rows_of_the_tables(whole: Path, html: str) -> None:
    free, d1 = texts(whole, "leak_free"), texts(whole, "d1")
    for topic, name in enumerate(("rivers and banks", "ovens", "courts & <judges>")):
        cells = topic_cells(html, name)
        before, after = ([t for t in side if f"topic={topic} " in t] for side in (free, d1))
        assert cells[1:3] == [str(len(before)), str(len(after))]
        assert cells[4] == ("2.50" if topic == 1 else "1.00")
        for cell, side in zip(cells[5:7], (before, after), strict=True):
            values = [quality(t) for t in side]
            assert cell == f"{np.mean(values):.3f} \u00b1 {np.std(values):.2f}"


def topic_cells(html: str, name: str) -> list[str]:
    """Texts of the cells of a topic's line."""
    lines = re.findall(r"<tr>(.*?)</tr>", section(html, "topics"), re.DOTALL)
    found = [[plain(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line, re.DOTALL)] for line in lines]
    return next(cells for cells in found if cells and cells[0] == name)


def texts(whole: Path, name: str) -> list[str]:
    folder = whole / name / manifests(whole)[name]["fingerprint"][:12]
    return [t for part in sorted(folder.glob("part-*.parquet")) for t in pq.read_table(part)["text"].to_pylist()]


def quality(text: str) -> float:
    return float(text.split("quality=")[1].split()[0])


def test_entropy_spread_and_histograms_agree_with_a_plain_computation(whole: Path) -> None:
    found = tally(Run.of(str(whole)))
    assert found is not None
    assert found.after is not None
    for side, name in ((found.before, "leak_free"), (found.after, "d1")):
        rows = texts(whole, name)
        groups = [[quality(t) for t in rows if f"topic={n} " in t] for n in range(3)]
        read = [len(group) * (2.5 if name == "d1" and n == 1 else 1) for n, group in enumerate(groups)]
        shares = [amount / sum(read) for amount in read]
        assert side.entropy == pytest.approx(-sum(s * math.log2(s) for s in shares))
        assert side.spread == pytest.approx(np.std([np.mean(group) for group in groups]), abs=1e-6)
        around = [(q - np.mean(group)) ** 2 for group in groups for q in group]
        assert side.within == pytest.approx(np.sqrt(np.mean(around)), abs=1e-6)
        assert side.disagreeing == sum(quality(t) < 0.5 for t in rows)
        assert side.sizes.tolist() == sorted(map(len, groups), reverse=True)
        assert side.mean == pytest.approx(np.mean([quality(t) for t in rows]), abs=1e-6)
        assert side.histogram.sum() == len(rows)
    assert (found.after.histogram <= found.before.histogram).all()


def test_leaks_name_the_item_and_the_coverage_of_every_benchmark(html: str) -> None:
    text = plain(section(html, "leakage"))
    assert "arc/test 40 31 6 2 1 2 3" in text
    assert "gsm8k/test 25 25 0 0 0 0 0" in text
    assert text.count("arc/test/q-0") == 2
    assert "https://example.org/501" in text
    assert "arc/test/q-7" in text


def test_certificates_are_linked_with_what_is_left(whole: Path, html: str) -> None:
    assert "stage 1 certificate D1 shards 7 2" in plain(section(html, "leakage"))
    link = re.search(r'href="(stage_1_certificate/[^"]+/)certificate.html"', html)
    assert link is not None
    assert (whole / link[1] / "certificate.json").exists()


def test_committee_and_recipe_and_costs_are_shown(whole: Path, html: str) -> None:
    quality_text = plain(section(html, "quality"))
    assert "meaning 91.2 % 96.3 % 0.550" in quality_text
    assert "all, voting 93.0 % 97.1 %" in quality_text
    assert "40 good and 60 poor in 5 folds" in quality_text
    text = plain(section(html, "recipe"))
    assert "min_quality 0.3" in text
    run = plain(section(html, "run"))
    for name, manifest in manifests(whole).items():
        assert manifest["fingerprint"][:12] in text
        for member in (manifest, *manifest.get("members", ())):
            assert member["fingerprint"][:12] in text
            assert member["name"].replace("_", " ") in run
        assert manifest["run"]["versions"]["python"] in run, name


def test_text_from_the_web_is_shown_as_text_and_never_run(html: str) -> None:
    assert EVIL not in html
    scripts = Reader(html).scripts
    assert len(scripts) == 2
    data = json.loads(scripts[0])
    assert EVIL in data["title"]
    assert data["drawn"] == len(data["x"]) == len(data["url"])
    assert data["names"] == NAMES
    assert "javascript:alert(2)" in html
    assert 'href="javascript' not in html


def test_the_same_directory_gives_the_same_page(whole: Path, html: str) -> None:
    assert render(str(whole)) == html


def test_a_run_that_is_not_finished_says_what_is_missing_and_what_makes_it(whole: Path, tmp_path: Path) -> None:
    for keep, waiting in (("unique", "cluster_map"), ("score", "Waiting for d1"), ("crawl", "d1")):
        root = tmp_path / keep
        shutil.copytree(whole, root)
        order = Run.of(str(whole)).order
        for name in order[order.index(keep) + 1 :]:
            shutil.rmtree(root / name, ignore_errors=True)
        for name in ("label_clusters", "cluster_map", "leak_index"):
            shutil.rmtree(root / name, ignore_errors=True)
        text = plain(render(str(root)))
        assert "documents so far" in text or "No documents yet" in text
        assert waiting in text
        assert f"hare run RECIPE.py --root {root}" in text


def test_topics_without_selection_show_only_what_was_before(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    for name in ("select", "d1", "label_clusters", "committee"):
        shutil.rmtree(root / name)
    html = render(str(root))
    assert "<td>topic 0</td>" in section(html, "topics")
    assert "Waiting for d1, label_clusters" in plain(section(html, "topics"))
    assert "mean quality" in section(html, "quality")
    assert 'class="area after"' not in html


def test_without_d1_the_longest_way_is_shown(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    shutil.rmtree(root / "d1")
    assert chain(Run.of(str(root))) == ["read", "clean", "rebalance", "unique", "leak_free"]


def test_opinions_on_different_bases_are_refused(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    path = root / "score" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base": "0" * 64}))
    with pytest.raises(ValueError, match="expected one base"):
        render(str(root))


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the directory of a run"):
        render(str(tmp_path))


def test_the_page_lies_in_the_directory_and_does_not_stand_in_the_way_of_the_next_run(
    whole: Path, html: str, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole, root)
    assert write(str(root)) == f"{root}/report.html"
    first = (root / "report.html").read_bytes()
    assert first.decode() == html.replace(str(whole), str(root))
    write(str(root))
    assert (root / "report.html").read_bytes() == first
    done = engine.run(recipe(whole.parent / "crawl")["d1"], root=str(root))
    assert done["d1"] == manifests(whole)["d1"]

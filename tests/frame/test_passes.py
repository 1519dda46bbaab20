"""How a graph is cut into passes."""

from hare_ray.passes import Pass, plan, rail, written
from hare_ray.stage import Keep, Rebalance, Source, Stage, upstream
from tests.frame.stages import Count, FirstOfKind, Lines, Longer, Share


def graph() -> dict[str, Stage]:
    docs = Lines(files=Source(label="crawl", location="nowhere"))
    longer = Longer(docs=docs, min_chars=1)
    clean = Keep(label="clean", docs=docs, verdicts=(longer,))
    again = Longer(label="again", docs=clean, min_chars=2)
    first = FirstOfKind(docs=clean)
    unique = Keep(label="unique", docs=clean, verdicts=(first, again))
    count = Count(docs=unique, unit="characters")
    share = Share(docs=unique, count=count)
    return {stage.name: stage for stage in upstream(share)}


def names(unit: object) -> list[str]:
    return [stage.name for stage in unit.members] if isinstance(unit, Pass) else [unit.name]


def test_part_wise_stages_share_a_pass_up_to_a_barrier():
    stages = graph()
    units = plan(list(stages.values()), [stages["share"]], {"crawl"})
    assert [names(unit) for unit in units] == [
        ["lines", "longer", "clean", "again"],
        ["first_of_kind"],
        ["unique"],
        ["count"],
        ["share"],
    ]


def test_only_what_another_pass_reads_is_written():
    stages = graph()
    keep = written(list(stages.values()), [stages["share"]])
    assert keep == {"crawl", "clean", "again", "first_of_kind", "unique", "count", "share"}


def test_what_is_done_is_left_out_with_all_that_only_it_needed():
    stages = graph()
    units = plan(list(stages.values()), [stages["share"]], {"crawl", "unique"})
    assert [names(unit) for unit in units] == [["count"], ["share"]]
    units = plan(list(stages.values()), [stages["share"]], {"crawl", "clean", "first_of_kind"})
    assert [names(unit) for unit in units] == [["again"], ["unique"], ["count"], ["share"]]


def test_a_rebalance_begins_a_new_numbering_of_parts():
    stages = graph()
    assert rail(stages["share"]) is stages["crawl"]
    joined = Rebalance(docs=stages["clean"], part_bytes=1)
    longer = Longer(label="after", docs=joined, min_chars=3)
    assert rail(longer) is joined
    order = upstream(longer)
    units = plan(order, [longer], {"crawl"})
    assert [names(unit) for unit in units] == [["lines", "longer", "clean"], ["rebalance"], ["after"]]


def test_every_unit_comes_after_what_it_reads():
    stages = graph()
    seen = {"crawl"}
    for unit in plan(list(stages.values()), [stages["share"]], {"crawl"}):
        for stage in unit.members if isinstance(unit, Pass) else [unit]:
            assert {parent.name for parent in stage.parents} <= seen
            seen.add(stage.name)
    assert seen == set(stages)

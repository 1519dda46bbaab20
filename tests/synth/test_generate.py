"""Generate at an endpoint: a row for each prompt, each asked for once, whatever is killed."""

import json
from pathlib import Path

import pytest

from hare_ray.engine import run
from hare_ray.synth.generate import NOT_ASKED, Generate, request_seed
from hare_ray.synth.server import Server, context_tokens, engine_arguments
from tests.synth.fake_openai import Asked, FakeOpenAI, Say, usual
from tests.synth.stages import LinesAsPrompts, answers, prompts


@pytest.fixture
def server():
    with FakeOpenAI() as fake:
        yield fake


def generate(asked: LinesAsPrompts, **changed) -> Generate:
    fields = {"model": None, "llm": "fake", "chat": False, "max_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 1}
    return Generate(prompts=asked, **{**fields, "concurrency": 3, **changed})


def lines(folder: Path) -> list[list[str]]:
    return [file.read_text().splitlines() for file in sorted(folder.iterdir())]


def test_each_prompt_has_its_answer_in_its_place(server, tmp_path):
    asked = prompts(tmp_path / "in", 9, 0, 4)
    server.script = lambda asked: Say(400) if asked.prompt.startswith("0 3") else None
    stage = generate(asked, endpoint=server.url)
    run(stage, root=str(tmp_path / "run"))
    found = answers(str(tmp_path / "run"), stage)
    expected = [[None if line.startswith("0 3") else line.upper() for line in part] for part in lines(tmp_path / "in")]
    assert [[row["answer"] for row in part] for part in found] == expected
    assert found[0][3]["finish"] == "error: HTTP 400: {}"
    assert (found[0][0]["prompt_tokens"], found[0][0]["completion_tokens"]) == (8, 9)
    assert len(server.asked) == 13


def test_no_more_requests_than_allowed_are_in_flight_and_parts_do_not_hold_them_up(server, tmp_path):
    server.script = slowly
    stage = generate(prompts(tmp_path / "in", 8, 8, 8), endpoint=server.url, concurrency=6, clients=1)
    run(stage, root=str(tmp_path / "run"))
    assert server.most_in_flight == 6
    assert books(tmp_path / "run", stage)["in_flight"] == 6


def books(root: Path, stage: Generate) -> dict:
    return json.loads((root / stage.name / "manifest.json").read_text())["books"]


def slowly(asked: Asked) -> Say:
    said = usual(asked)
    said.after_seconds = 0.1
    return said


def test_a_run_that_stops_midway_asks_only_for_what_was_in_flight(server, tmp_path):
    asked, root = prompts(tmp_path / "in", 20, 20), str(tmp_path / "run")
    server.script = lambda asked: Say(401) if asked.number >= 27 else None
    with pytest.raises(PermissionError):
        run(generate(asked, endpoint=server.url), root=root)
    answered = [one.prompt for one in server.asked[:27]]
    first, server.asked[:] = len(server.asked), []
    server.script = lambda asked: None
    stage = generate(asked, endpoint=server.url, concurrency=2)  # how it is asked is no part of the recipe
    run(stage, root=root)
    again = [one.prompt for one in server.asked]
    everything = [line for part in lines(tmp_path / "in") for line in part]
    assert first <= 27 + 3
    assert len(again) == len(set(again))
    assert set(answered) | set(again) == set(everything)
    assert len(set(answered) & set(again)) <= 3  # that were in flight with the one that stopped it
    assert [row["answer"] for part in answers(root, stage) for row in part] == [line.upper() for line in everything]
    assert not list((tmp_path / "run").rglob("scratch"))


def test_where_most_prompts_fail_it_stops_and_what_was_answered_before_is_kept(server, tmp_path):
    asked, root = prompts(tmp_path / "in", 20, 20), str(tmp_path / "run")
    server.script = lambda asked: Say(400) if asked.number >= 20 else None
    with pytest.raises(ValueError, match=r"gave an error to [89] of the last 2[0-9] prompts"):
        run(generate(asked, endpoint=server.url, clients=1), root=root)
    server.script = lambda asked: None
    before, server.asked[:] = len(server.asked), []
    stage = generate(asked, endpoint=server.url)
    run(stage, root=root)
    assert before <= 31
    assert len(server.asked) == 20
    assert all(row["answer"] for part in answers(root, stage) for row in part)


def test_prompts_above_the_window_do_not_stop_it(server, tmp_path):
    said = {"error": {"message": "This model's maximum context length is 64 tokens. However, you requested 900."}}
    server.script = lambda asked: Say(400, said) if asked.number % 3 else None
    stage = generate(prompts(tmp_path / "in", 300), endpoint=server.url, concurrency=16)
    run(stage, root=str(tmp_path / "run"))
    (rows,) = answers(str(tmp_path / "run"), stage)
    assert sum(row["answer"] is not None for row in rows) == 100
    assert {row["finish"] for row in rows if row["answer"] is None} == {f"error: HTTP 400: {said['error']['message']}"}
    counted = books(tmp_path / "run", stage)
    assert (counted["answered"], counted["errors"], counted["not_asked"]) == (100, 200, 0)


def test_where_nearly_all_are_above_the_window_it_stops(server, tmp_path):
    server.script = lambda asked: Say(400, {"error": {"message": "prompt too long"}})
    with pytest.raises(ValueError, match="gave an error to 64 of the last 64"):
        run(generate(prompts(tmp_path / "in", 300), endpoint=server.url, concurrency=16), root=str(tmp_path / "run"))


def test_a_null_prompt_is_not_asked_and_an_empty_one_has_a_reason(server, tmp_path):
    asked = prompts(tmp_path / "in", 4)
    (tmp_path / "in" / "0.txt").write_text("NULL\nthe cat\n\n \t\nthe dog")
    stage = generate(asked, endpoint=server.url)
    run(stage, root=str(tmp_path / "run"))
    (rows,) = answers(str(tmp_path / "run"), stage)
    empty = "error: the prompt is empty"
    assert [row["finish"] for row in rows] == [NOT_ASKED, "stop", empty, empty, "stop"]
    assert [row["answer"] for row in rows] == [None, "THE CAT", None, None, "THE DOG"]
    assert len(server.asked) == 2
    assert len({row["request"] for row in rows}) == 5


def test_a_schema_is_sent_as_response_format(server, tmp_path):
    schema = '{"type": "object", "properties": {"question": {"type": "string"}}}'
    asked = prompts(tmp_path / "in", 1)
    (tmp_path / "in" / "0.txt").write_text(f"SCHEMA {schema}\nthe cat")
    run(generate(asked, endpoint=server.url, concurrency=1), root=str(tmp_path / "run"))
    sent = {one.prompt[:3]: one.body.get("response_format") for one in server.asked}
    expected = {"name": "answer", "schema": json.loads(schema), "strict": True}
    assert sent == {"SCH": {"type": "json_schema", "json_schema": expected}, "the": None}


def test_odd_texts_there_and_back_are_valid(server, tmp_path):
    long = "x" * 200_000
    asked = prompts(tmp_path / "in", 1)
    odd = ["{braces} and \x01\x07 controls", long, "nul \x00 inside", "lone"]
    (tmp_path / "in" / "0.txt").write_text("\n".join(odd))
    lone = '{"choices": [{"text": "a \\ud800 b \\ud83d\\ude00 \\u0000", "finish_reason": "stop"}]}'
    server.script = lambda asked: Say(200, lone) if asked.prompt == "lone" else None
    stage = generate(asked, endpoint=server.url)
    run(stage, root=str(tmp_path / "run"))
    (rows,) = answers(str(tmp_path / "run"), stage)
    assert [row["answer"] for row in rows[:3]] == [text.upper() for text in odd[:3]]
    assert rows[3]["answer"] == "a \ufffd b \U0001f600 \x00"


def test_a_finished_part_is_not_asked_again(server, tmp_path):
    asked, root = prompts(tmp_path / "in", 5, 5), str(tmp_path / "run")
    server.script = lambda asked: Say(401) if asked.prompt.startswith("1") else None
    with pytest.raises(PermissionError):
        run(generate(asked, endpoint=server.url, concurrency=1, clients=1), root=root)
    server.asked.clear()
    server.script = lambda asked: None
    run(generate(asked, endpoint=server.url), root=root)
    assert sorted(one.prompt[0] for one in server.asked) == ["1"] * 5


def test_without_prompts_no_server_is_needed(tmp_path):
    asked = prompts(tmp_path / "in", 0, 0)
    desk_parts = _gathered_without_server(asked, tmp_path)
    assert desk_parts == [0, 0]


def _gathered_without_server(asked: LinesAsPrompts, tmp_path: Path) -> list[int]:
    """The engine refuses a graph whose base is empty, so the stage is called with a desk over written parts."""
    from hare_ray.catalog import Catalog, Place, commits
    from hare_ray.executor import plain_map
    from hare_ray.gather import Desk
    from hare_ray.manifest import folder
    from hare_ray.store import Root

    root = Root(str(tmp_path / "run"))
    stage = generate(asked, endpoint="http://127.0.0.1:1/v1")
    catalog = Catalog({asked.fingerprint: Place(root, "prompts", rows=(0, 0))})
    stage.gather(Desk(stage, root, catalog, plain_map, tmp_path))
    done = commits(root, folder(stage))
    return [done[part]["rows"] for part in sorted(done)]


def test_nobody_at_the_endpoint_stops_before_any_prompt(tmp_path):
    with FakeOpenAI() as gone:
        url = gone.url
    with pytest.raises(ConnectionError, match="nobody answers"):
        run(generate(prompts(tmp_path / "in", 3), endpoint=url), root=str(tmp_path / "run"))


def test_a_model_is_not_served_without_ray(tmp_path):
    stage = generate(prompts(tmp_path / "in", 3), llm="hub/name")
    with pytest.raises(ValueError, match="needs Ray"):
        run(stage, root=str(tmp_path / "run"))


def test_a_requests_seed_follows_from_seed_and_prompt_alone(server, tmp_path):
    asked = prompts(tmp_path / "in", 6)
    for name, where in (("a", {"concurrency": 1}), ("b", {"concurrency": 6}), ("c", {"seed": 2})):
        run(generate(asked, endpoint=server.url, **where), root=str(tmp_path / name))
    seeds = [{one.prompt: one.body["seed"] for one in server.asked[at : at + 6]} for at in (0, 6, 12)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert len(set(seeds[0].values())) == 6
    assert 0 <= request_seed(-1, b"x" * 16) < 1 << 31


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"llm": ""}, "expected one of them"),
        ({"top_p": 0.0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"through": "?"}, "through"),
    ],
)
def test_numbers_and_names_that_mean_nothing_are_refused(tmp_path, changed, word):
    with pytest.raises(ValueError, match=word):
        generate(prompts(tmp_path / "in", 1), **changed)


def test_where_it_is_asked_is_no_part_of_the_identity_and_what_is_asked_is(tmp_path):
    asked = prompts(tmp_path / "in", 1)
    same = generate(asked, endpoint="http://a/v1", concurrency=9, clients=2, through="batch", linger_seconds=0.0)
    assert same.fingerprint == generate(asked).fingerprint
    assert generate(asked, temperature=1.0).fingerprint != same.fingerprint


def test_a_folder_without_a_model_says_what_it_should_hold(tmp_path):
    with pytest.raises(ValueError, match=r"holds no config\.json.*every node.*llm="):
        context_tokens(str(tmp_path))


@pytest.mark.parametrize("gpus", [0, 4])
def test_a_whole_prompt_always_fits_in_a_step(tmp_path, gpus):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 50000}')
    told = engine_arguments(Server(str(tmp_path), "m", gpus, 1, 1))
    assert told["max_model_len"] == 50000 <= told["max_num_batched_tokens"]


def test_the_same_model_is_the_same_server_and_a_replica_holds_something():
    servers = [Server("/m", "m", 0, 1, 1), Server("/m", "m", 0, 1, 1), Server("/n", "m", 0, 1, 1)]
    assert servers[0].app == servers[1].app != servers[2].app
    assert all(sum(Server("/m", "m", gpus, 1, cpus).bundles[0].values()) for gpus in (0, 1) for cpus in (0, 1))


def test_a_model_on_several_gpus_asks_for_one_bundle_each():
    server = Server("/m", "m", 4, 1, 1)
    assert server.bundles == [{"CPU": 1.0, "GPU": 1.0}, {"GPU": 1.0}, {"GPU": 1.0}, {"GPU": 1.0}]

"""The request cache under kills: wherever a run dies that takes answers over, nothing is asked or counted twice."""

import itertools
import shutil

import pytest

from hare_ray.engine import Settings, run
from hare_ray.store import Root
from hare_ray.synth import cache
from tests.synth.test_cache import EDITED, books, cut, expected, lines, prompts, texts
from tests.synth.upper import ASKED, Upper

__all__ = ["lines"]

pytestmark = pytest.mark.slow


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("bucket_bytes", "step"), [(1 << 20, 3), (1500, 19)])
def test_killed_at_any_write_it_goes_on_and_asks_and_counts_each_row_once(
    lines, tmp_path, monkeypatch, bucket_bytes, step
):
    monkeypatch.setattr(cache, "Join", cut(bucket_bytes))
    write_whole, redo, writes = Root.write, Settings(redo=("templated",)), itertools.count(step % 2, step)
    stage, ended = Upper(prompts=prompts(lines, EDITED)), False
    run(Upper(prompts=prompts(lines)), root=str(tmp_path / "first"))
    while not ended:
        root, left = tmp_path / "run", next(writes)
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(tmp_path / "first", root)

        def dying(self, name: str, data: bytes) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            write_whole(self, name, data)

        monkeypatch.setattr(Root, "write", dying)
        ASKED.clear()
        try:
            run(stage, root=str(root), settings=redo)
            ended = True
        except Killed:
            pass
        monkeypatch.setattr(Root, "write", write_whole)
        before = len(ASKED)  # by the killed run, some perhaps not kept yet
        if not ended:
            run(stage, root=str(root), settings=redo)
        assert texts(root, stage) == expected(stage)
        assert set(ASKED) == {f"wonder about {line}" for line in ("cat", "dog", "sun", "tree", "leaf", "root")}
        assert len(ASKED) <= 6 + min(before, 3)  # at most the rows of one part were in flight
        assert books(root, stage)["reused"] == 12

"""What --redo keeps of a stage that takes earlier answers over: its rows, and nothing that says they are done."""

from typing import ClassVar

import pyarrow as pa
import pytest

from hare_ray.earlier import ASIDE, REQUEST, clear, folders, recalls, set_aside
from hare_ray.manifest import folder
from hare_ray.stage import Gather, Source, Table
from hare_ray.store import Root
from tests.frame.stages import Lines

PLACES = ("0123456789ab", "ba9876543210")


class Answers(Gather):
    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([(REQUEST, pa.binary(16))])


class Other(Gather):
    docs: Table
    writes: ClassVar[pa.Schema] = pa.schema([("reason", pa.string())])


DOCS = Lines(files=Source(location=__file__))
STAGE = Answers(docs=DOCS)


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path) -> Root:
    root = Root(str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}-earlier")
    for place in (*PLACES, folder(STAGE).split("/")[1]):
        for name in ("part-00000.parquet", "part-00000.json", "part-00001.parquet", "scratch/00001/segment.arrow"):
            root.write(f"answers/{place}/{name}", name.encode())
        root.write(f"answers/{place}/scratch/clock.json", b"{}")
    root.write(f"answers/{PLACES[0]}-lasting/mark.json", b"{}")
    return root


def test_only_a_gather_whose_rows_have_a_key_recalls():
    assert [recalls(stage) for stage in (STAGE, Other(docs=DOCS), DOCS)] == [True, False, False]


def test_parts_lose_their_commits_and_the_scratch_folder_moves_aside(root):
    assert set(folders(root, "answers")) == {f"answers/{place}" for place in PLACES} | {folder(STAGE)}
    for _ in range(2):  # stopped and called again, it comes to the same
        set_aside(root, "answers")
        for place in folders(root, "answers"):
            assert root.names(place) == [ASIDE, "part-00000.parquet", "part-00001.parquet"]
            assert root.names(f"{place}/{ASIDE}/scratch") == ["00001"]
            kept = root.read(f"{place}/{ASIDE}/scratch/00001/segment.arrow")
            assert kept == b"scratch/00001/segment.arrow"
        assert not [name for name in root.names("answers") if name.endswith("-lasting")]


def test_when_all_is_made_anew_what_was_kept_is_gone(root):
    set_aside(root, "answers")
    root.write(f"{folder(STAGE)}/part-00000.json", b"{}")
    clear(root, [DOCS, STAGE])
    assert folders(root, "answers") == [folder(STAGE)]
    assert root.names(folder(STAGE)) == ["part-00000.json", "part-00000.parquet"]

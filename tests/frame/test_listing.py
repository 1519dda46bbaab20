"""What a Source is made of."""

import pytest

from hare_ray.listing import Entry, difference, digest, resolve, splits


def test_names_are_relative_and_sorted_whatever_the_form_of_the_location(tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden", "__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    folder, entries = resolve(str(tmp_path))
    assert (folder, [e.name for e in entries]) == (str(tmp_path), ["a.txt", "b.txt", "sub/c.txt"])
    assert [e.name for e in resolve(str(tmp_path / "*.txt"))[1]] == ["a.txt", "b.txt"]
    assert [e.name for e in resolve(str(tmp_path / "a.txt"))[1]] == ["a.txt"]
    assert resolve(str(tmp_path / "s*/*.txt"))[1][0].name == "sub/c.txt"


@pytest.mark.parametrize("location", ["nowhere", "no*thing.txt"])
def test_a_location_without_files_is_refused_with_a_cure(tmp_path, location):
    with pytest.raises(ValueError, match=r"no files at .*expected a file, a folder or a glob"):
        resolve(str(tmp_path / location))


def test_a_large_file_is_sampled_and_a_change_in_a_sample_shows(tmp_path, monkeypatch):
    monkeypatch.setattr("hare_ray.listing.WHOLE_HASH_BYTES", 1000)
    monkeypatch.setattr("hare_ray.listing.SAMPLE_BYTES", 100)
    path = tmp_path / "large.bin"
    path.write_bytes(b"x" * 5000)
    before = resolve(str(path))[1]
    path.write_bytes(b"x" * 4999 + b"y")
    after = resolve(str(path))[1]
    assert before[0].hash.startswith("sampled:")
    assert digest(before) != digest(after)


def test_the_difference_names_added_removed_and_changed_files():
    old = [{"name": n, "bytes": 1, "hash": "h"} for n in ("same", "gone", "other")]
    new = (Entry("same", 1, "h"), Entry("other", 2, "h"), Entry("fresh", 1, "h"))
    assert difference(old, new) == "added: fresh; removed: gone; changed: other"


def test_neighbouring_small_files_share_a_part_and_a_large_one_stands_alone():
    entries = tuple(Entry(f"{i}", size, "") for i, size in enumerate([10, 10, 10, 500, 10, 90]))
    got = [[row["file"] for row in table.to_pylist()] for table in splits("/in", entries, 100)]
    assert got == [["0", "1", "2"], ["3"], ["4", "5"]]
    assert splits("/in", entries, 100)[0].to_pylist()[0]["path"] == "/in/0"

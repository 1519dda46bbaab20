"""A root on an object store: the same bytes, no half objects, and a lease that one driver holds."""

import hashlib
import itertools
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from s3fs import S3FileSystem

from hare_ray import lock
from hare_ray.catalog import Catalog
from hare_ray.engine import FailedError, Settings, run
from hare_ray.executor import Executor, Plain
from hare_ray.gather import Desk
from hare_ray.lock import LEASE, TAKEOVER_SECONDS, LockedError, only_driver
from hare_ray.stage import Make, Source
from hare_ray.store import Root
from tests.frame.graph import build, digest, halves, reader, write_source
from tests.frame.wire import Wire, between

moto = pytest.importorskip("moto.server", reason="needs moto[server]")

REPOSITORY = Path(__file__).parents[2]
BUCKETS = itertools.count()
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_MAX_ATTEMPTS": "1",  # s3fs tries again by itself
    "NO_PROXY": "127.0.0.1",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with between(server.get_host_and_port()[1]) as cable:
        yield cable
    server.stop()


@pytest.fixture
def bucket(wire, monkeypatch) -> Iterator[str]:
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": wire.url}.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    url = f"s3://bucket-{next(BUCKETS)}"
    S3FileSystem().mkdir(url)
    yield f"{url}/run"
    wire.cut = lambda path: False
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "in", files=3, rows=4)


@pytest.fixture
def calm(source, tmp_path) -> dict[str, str]:
    run(build(source), root=str(tmp_path / "calm"))
    return digest(tmp_path / "calm")


def whole_parts(root: str) -> int:
    """Number of committed parts; every one is as its commit says."""
    fs = S3FileSystem()
    commits = [path for path in fs.find(root) if path.rsplit("/", 1)[1].startswith("part-") and path.endswith(".json")]
    for path in commits:
        data = fs.cat_file(path.replace(".json", ".parquet"))
        assert hashlib.sha256(data).hexdigest() == json.loads(fs.cat_file(path))["sha256"]
    return len(commits)


def age_lease(root: str) -> None:
    """Let the holder's last sign of life be older than a lease lives."""
    found = json.loads(Root(root).read(LEASE))
    Root(root).write(LEASE, json.dumps({**found, "time": found["time"] - TAKEOVER_SECONDS - 1}).encode())


def test_a_run_on_an_object_store_makes_the_bytes_of_a_local_one(bucket, source, calm):
    run(build(source), root=bucket)
    assert digest(bucket) == calm
    assert not Root(bucket).exists(LEASE)
    before = S3FileSystem().info(f"{bucket}/share/manifest.json")["LastModified"]
    run(build(source), root=bucket)
    assert S3FileSystem().info(f"{bucket}/share/manifest.json")["LastModified"] == before


def test_an_upload_cut_on_the_wire_leaves_no_half_object_and_its_part_is_done_next_time(wire, bucket, source, calm):
    def second_part(path: str) -> bool:
        return "/clean/" in path and path.endswith("part-00001.parquet")

    wire.cut = second_part
    with pytest.raises(FailedError, match=r"1 of 3 parts failed.*part 1"):
        run(build(source), root=bucket)
    assert not [path for path in S3FileSystem().find(bucket) if second_part(path)]
    assert not halves(bucket, calm)
    assert whole_parts(bucket) == 2
    kept = {path: S3FileSystem().info(path)["LastModified"] for path in S3FileSystem().find(f"{bucket}/clean")}
    wire.cut = lambda path: False
    run(build(source), root=bucket)
    assert digest(bucket) == calm
    assert all(S3FileSystem().info(path)["LastModified"] == when for path, when in kept.items())


def test_an_upload_cut_once_is_sent_again(wire, bucket, source, calm):
    cuts = iter([True])
    wire.cut = lambda path: path.endswith("part-00001.parquet") and next(cuts, False)
    run(build(source), root=bucket)
    assert next(cuts, None) is None, "nothing was cut"
    assert digest(bucket) == calm


def start(root: str, source: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.frame.drive", root, str(source), *options]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_AUTH_MODE": "token"}
    return subprocess.Popen(command, env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("put", [4, 25])
def test_a_driver_killed_in_the_middle_of_an_upload_leaves_only_whole_objects(wire, bucket, source, calm, put):
    drivers: list[subprocess.Popen[str]] = []
    puts = itertools.count(1)

    def kill_at(path: str) -> bool:
        if next(puts) != put:
            return False
        drivers[0].kill()
        return True

    wire.cut = kill_at
    drivers.append(start(bucket, source))
    assert drivers[0].wait() == -9
    assert not halves(bucket, calm)
    wire.cut = lambda path: False
    with pytest.raises(LockedError, match=rf"process {drivers[0].pid} on .*free in \d+ s"):
        run(build(source), root=bucket)
    age_lease(bucket)
    run(build(source), root=bucket)
    assert digest(bucket) == calm


def test_a_second_driver_is_refused_and_told_who_the_first_is(bucket, source):
    with only_driver(Root(bucket)), pytest.raises(LockedError, match=f"process {os.getpid()} on "):
        run(build(source), root=bucket)
    assert not Root(bucket).exists(LEASE)


def test_a_driver_whose_lease_was_taken_over_writes_no_manifest_and_leaves_the_new_lease(bucket, source):
    other = json.dumps({"host": "elsewhere", "pid": 1, "token": "another", "time": time.time()}).encode()

    def robbed(root: Root) -> Executor:
        root.write(LEASE, other)
        return Plain()

    with pytest.raises(LockedError, match="process 1 on elsewhere"):
        run(reader(source), root=bucket, executor=robbed)
    assert not Root(bucket).exists("clean/manifest.json")
    assert Root(bucket).read(LEASE) == other


def test_a_driver_that_works_renews_its_lease(bucket, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.1)
    with only_driver(Root(bucket)) as still_held:
        first = json.loads(Root(bucket).read(LEASE))
        deadline = time.monotonic() + 10
        while json.loads(Root(bucket).read(LEASE))["time"] == first["time"] and time.monotonic() < deadline:
            time.sleep(0.05)
        last = json.loads(Root(bucket).read(LEASE))
        still_held()
    assert last["time"] > first["time"]
    assert last["token"] == first["token"]


def test_a_source_that_changed_on_the_store_is_not_served_from_an_old_copy(bucket):
    root = Root(bucket)
    root.write("model/weights", b"old")
    old = Source(label="model", location=f"{bucket}/model")
    assert (Catalog().files(old) / "weights").read_bytes() == b"old"
    root.write("model/weights", b"new")
    new = Source(label="model", location=f"{bucket}/model")
    assert (Catalog().files(new) / "weights").read_bytes() == b"new"
    assert new.fingerprint != old.fingerprint


class Trained(Make):
    """Weights, and a large rest that few need."""

    files: Source
    apart: ClassVar[tuple[str, ...]] = ("rest/",)

    def make(self, desk: Desk) -> dict[str, int]:
        (desk.folder / "rest").mkdir()
        for name in ("weights", "rest/moments"):
            (desk.folder / name).write_bytes(name.encode())
        return {}


class Used(Make):
    """What came of it to a reader's machine."""

    trained: Trained

    def make(self, desk: Desk) -> dict[str, int]:
        folder = desk.files(self.trained)
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        rest = Root(desk.folder_url(self.trained)).read("rest/moments").decode()
        (desk.folder / "names.json").write_text(json.dumps([*names, rest]))
        return {}


def test_files_that_are_set_apart_stay_on_the_store(bucket, source):
    used = Used(trained=Trained(files=Source(location=str(source))))
    run(used, root=bucket)
    told = json.loads(Root(bucket).read(f"used/{used.fingerprint[:12]}/names.json"))
    assert told == ["weights", "rest/moments"]


def test_redo_removes_what_was_there(bucket, source, calm):
    run(build(source, min_chars=22), root=bucket)
    run(build(source), root=bucket, settings=Settings(redo=("longer",)))
    assert digest(bucket) == calm


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_ray_workers_make_the_same_bytes_on_an_object_store(bucket, source, calm):
    driver = start(bucket, source, "--workers", "2")
    _, errors = driver.communicate(timeout=200)
    assert driver.returncode == 0, errors
    assert digest(bucket) == calm

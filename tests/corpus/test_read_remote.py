"""Archives on an object store: the same parts as locally, and a stretch costs about its own bytes."""

from __future__ import annotations

import gzip
import logging
import os
import random
from typing import Any

import pytest
from s3fs import S3FileSystem

from hare_ray.catalog import Catalog
from hare_ray.corpus.read import Read
from hare_ray.stage import Source
from tests.corpus.reading import answer, json_lines, no_files

moto = pytest.importorskip("moto.server", reason="needs moto[server]")

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1",
}
PART_BYTES = 8 << 20

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    S3FileSystem().mkdir("s3://crawl")
    yield "s3://crawl"
    S3FileSystem.clear_instance_cache()
    server.stop()


def write_crawl(folder):
    chance = random.Random(7)
    pages = [answer(chance.randbytes(20_000).hex().encode(), url=f"http://a.example/{i}") for i in range(1200)]
    (folder / "large.warc.gz").write_bytes(b"".join(gzip.compress(page, 1) for page in pages))
    (folder / "plain.warc").write_bytes(b"".join(pages[:30]))
    (folder / "small.warc.gz").write_bytes(b"".join(gzip.compress(page, 1) for page in pages[:20]))
    (folder / "rows.jsonl").write_bytes(json_lines([{"text": f"text {i}"} for i in range(50)]))


def parts(location):
    source = Source(location=location, part_bytes=PART_BYTES)
    read = Read(files=source, sample=1.0, max_payload_bytes=1 << 20).prepare(no_files)
    return [(split, read(split)) for split in Catalog().splits(source)]


def test_parts_are_the_local_ones_and_fetch_about_their_own_bytes(bucket, tmp_path, monkeypatch):
    write_crawl(tmp_path)
    fs = S3FileSystem()
    fs.put(str(tmp_path) + "/", bucket + "/", recursive=True)
    opener = S3FileSystem._open
    ranges = []

    def watched(self, path, *args, **options):
        file = opener(self, path, *args, **options)
        inner: Any = file.cache
        fetch = inner.fetcher
        inner.fetcher = lambda start, end: ranges.append(end - start) or fetch(start, end)
        return file

    monkeypatch.setattr(S3FileSystem, "_open", watched)
    local = parts(str(tmp_path))
    remote = parts(bucket)
    assert len(local) == len(remote) > 3
    for (here, mine), (there, theirs) in zip(local, remote, strict=True):
        columns = ["file", "start", "end", "row"]
        assert here.select(columns).equals(there.select(columns))
        assert mine.combine_chunks().equals(theirs.combine_chunks())
    stored = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert stored < sum(ranges) < 1.35 * stored
    assert len(ranges) < 60

"""Files the tests of Read write themselves, and short ways to read them."""

import json

import pyarrow as pa

from hare_ray.corpus.fetched import READ
from hare_ray.corpus.read import Read
from hare_ray.schema import SPLIT, conform
from hare_ray.stage import Source

PAGE = b"<html><title>A page</title><p>Some words on a page.</p></html>"
HTTP = "application/http; msgtype=response"


def warc_record(body, *, http="HTTP/1.1 200 OK\r\nContent-Type: text/html", url="http://a.example/", **warc):
    block = (http.encode() + b"\r\n\r\n" if http else b"") + body
    headers = {
        "WARC-Type": "response",
        "WARC-Record-ID": "<urn:uuid:00000000-0000-0000-0000-000000000000>",
        "WARC-Date": "2024-01-01T00:00:00Z",
        "WARC-Target-URI": url,
        "Content-Type": HTTP,
        **{key.replace("_", "-"): value for key, value in warc.items()},
        "Content-Length": str(len(block)),
    }
    head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return b"WARC/1.0\r\n" + head.encode() + b"\r\n" + block + b"\r\n\r\n"


def answer(body, headers="Content-Type: text/html", status="200 OK", **warc):
    return warc_record(body, http=f"HTTP/1.1 {status}\r\n{headers}", **warc)


def split_of(path, start=0, end=-1):
    row = {"file": path.name, "path": str(path), "start": start, "end": end, "row": -1}
    return pa.Table.from_pylist([row], schema=SPLIT)


def stage(sample=1.0, max_payload_bytes=1 << 20):
    return Read(files=Source(location="unused"), sample=sample, max_payload_bytes=max_payload_bytes)


def no_files(_):
    raise AssertionError("Read asks for no files")


def read(path, start=0, end=-1, **fields):
    reader = stage(**fields)
    table = reader.prepare(no_files)(split_of(path, start, end))
    return conform(table, READ, "Read")


def read_bytes(tmp_path, data, name="crawl.warc", **fields):
    path = tmp_path / name
    path.write_bytes(data)
    return read(path, **fields)


def one(tmp_path, record, **fields):
    rows = read_bytes(tmp_path, record, **fields).to_pylist()
    assert len(rows) == 1
    return rows[0]


def exploded(path):
    finer = stage().explode(split_of(path), no_files)
    return finer, pa.concat_tables([stage().prepare(no_files)(finer.slice(i, 1)) for i in range(len(finer))])


def same(left, right):
    return left.combine_chunks().equals(right.combine_chunks())


def json_lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

"""A dataset on a hub by hf://: listed, cut and read through the hub's own protocol, spoken here by a small server."""

import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = "datasets/owner/name"
TEXTS = [f"text {n} " * 50 for n in range(3000)]
PROGRAM = """
import json, sys
from hare_ray.corpus.read import Read
from hare_ray.listing import splits
from hare_ray.stage import Source

source = Source(location="hf://datasets/owner/name/data", part_bytes=int(sys.argv[1]))
folder, entries = source.resolved
reader = Read(files=source, sample=1.0, max_payload_bytes=1 << 20).prepare(lambda _: None)
parts = [reader(split) for split in splits(folder, entries, source.part_bytes)]
rows = [row for part in parts for row in part.to_pylist()]
print(json.dumps({
    "entries": [[entry.name, entry.bytes, entry.hash] for entry in entries],
    "parts": [len(part) for part in parts],
    "texts": [row["payload"].decode() for row in rows],
    "files": sorted({row["file"] for row in rows}),
}))
"""


def parquet(texts):
    stored = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), stored, row_group_size=300, compression="none", use_dictionary=False)
    return stored.getvalue()


class Hub(BaseHTTPRequestHandler):
    """What HfFileSystem asks for."""

    files: dict[str, bytes]
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):  # noqa: A002 - the name in the standard library
        pass

    def answer(self, value, status=200, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def told(self, folder, recursive):
        """The files of a folder and, unless recursive, its folders instead of what is in them."""
        inside = f"{folder}/" if folder else ""
        found = {}
        for path, data in self.files.items():
            rest = path.removeprefix(inside)
            if path.startswith(inside) and ("/" not in rest or recursive):
                found[path] = {"type": "file", "path": path, "size": len(data), "oid": f"{len(data):040x}"}
            elif path.startswith(inside):
                inner = inside + rest.split("/")[0]
                found[inner] = {"type": "directory", "path": inner, "size": 0, "oid": "d" * 40}
        return list(found.values())

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(self.told("", True))

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        self.asked.append(f"{path} {self.headers.get('Range', '')}")
        tree = f"/api/{REPOSITORY}/tree/main"
        if path.startswith(tree):
            self.answer(self.told(unquote(path.removeprefix(tree)).strip("/"), "recursive=true" in self.path.lower()))
        elif path.startswith(f"/api/{REPOSITORY}"):
            self.answer({"id": "owner/name", "sha": "0" * 40, "private": False, "siblings": [], "tags": []})
        elif path.startswith(f"/{REPOSITORY}/resolve/main/"):
            data = self.files[path.removeprefix(f"/{REPOSITORY}/resolve/main/")]
            begin, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")
            stop = min(int(end) + 1 if end else len(data), len(data))
            span = f"bytes {begin}-{stop - 1}/{len(data)}"
            self.answer(data[int(begin) : stop], 206, Content_Range=span, ETag='"etag"', Accept_Ranges="bytes")
        else:
            self.answer({}, 404)


@pytest.fixture
def hub():
    handler = type("Handler", (Hub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()


def test_a_dataset_by_hf(hub, tmp_path):
    endpoint, handler = hub
    stored = parquet(TEXTS)
    handler.files = {"README.md": b"about", "data/a.parquet": stored}
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
        "HF_HUB_OFFLINE": "0",
    }
    command = [sys.executable, "-c", PROGRAM, str(len(stored) // 4)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert [entry[:2] for entry in got["entries"]] == [["a.parquet", len(stored)]]
    assert got["entries"][0][2].startswith("etag:")
    assert len(got["parts"]) > 3
    assert max(got["parts"]) < len(TEXTS) // 2
    assert got["texts"] == TEXTS
    assert got["files"] == ["a.parquet"]
    assert any("bytes=" in asked for asked in handler.asked)

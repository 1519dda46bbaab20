"""Main text of pages by one of the peers: `python extract_main_text.py ENGINE PAGES OUT`.

PAGES: a pickled list of pages in UTF-8. OUT: a JSON object with `texts` and `seconds`; the last line printed is the
most memory held, in MiB. Run with the peers' own Python.
"""

import json
import pickle
import sys
import time
from pathlib import Path


def trafilatura(page):
    from trafilatura import extract

    return extract(page)


def trafilatura_fast(page):
    from trafilatura import extract

    return extract(page, fast=True)


def resiliparse(page):
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(page, main_content=True)


def justext(page):
    import justext as engine

    paragraphs = engine.justext(page.encode(), engine.get_stoplist("English"))
    return "\n".join(paragraph.text for paragraph in paragraphs if not paragraph.is_boilerplate)


def readability(page):
    from lxml.html import fromstring
    from readability import Document

    return fromstring(Document(page).summary()).text_content()


def text(engine, page):
    """What an engine gives; some raise on odd pages, which counts as nothing found."""
    try:
        return engine(page) or ""
    except Exception as failed:
        sys.stderr.write(f"{type(failed).__name__}\n")
        return ""


def main():
    engine, source, out = globals()[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3])
    pages = [page.decode() for page in pickle.loads(source.read_bytes())]
    text(engine, pages[0])
    began = time.perf_counter()
    texts = [text(engine, page) for page in pages]
    seconds = time.perf_counter() - began
    out.write_text(json.dumps({"texts": texts, "seconds": seconds}))
    print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)


if __name__ == "__main__":
    main()

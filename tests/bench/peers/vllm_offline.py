"""vLLM offline (LLM.generate) on prompts of a file: python vllm_offline.py JOB.json; the last line printed is JSON.

Needs torch and vllm, nothing of ours and no Ray. The job: model, engine (arguments of the engine), environment,
threads, sampling, prompts, rounds (a list of seeds for each round).
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """One engine, all rounds."""
    job = json.loads(Path(sys.argv[1]).read_text())
    os.environ.update(job["environment"])
    if job["threads"]:
        os.environ["OMP_NUM_THREADS"] = str(job["threads"])
    began = time.perf_counter()
    from vllm import LLM, SamplingParams

    llm = LLM(model=job["model"], **job["engine"])
    llm.generate(["a"], SamplingParams(max_tokens=1), use_tqdm=False)  # the first answer is slower than all others
    start_seconds = time.perf_counter() - began
    rounds = []
    for seeds in job["rounds"]:
        sampling = [SamplingParams(seed=seed, **job["sampling"]) for seed in seeds]
        began = time.perf_counter()
        made = llm.generate(job["prompts"][: len(seeds)], sampling, use_tqdm=False)
        seconds = time.perf_counter() - began
        rounds.append({"seconds": seconds, "tokens": sum(len(one.outputs[0].token_ids) for one in made)})
    print(json.dumps({"start_seconds": start_seconds, "rounds": rounds}))


if __name__ == "__main__":
    main()

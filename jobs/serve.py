"""Models behind one OpenAI-compatible address, served by vLLM on Ray Serve until it is stopped."""

import argparse
import sys

from hare_ray.synth.serve_models import Wish, serve

EXAMPLES = """
examples
  a model in a folder, on this machine's GPU (or, without --gpus, on its CPU):
    python jobs/serve.py --llm /models/teacher --gpus 1
  two models, the larger engine split over 2 GPUs each, up to 4 copies of each, none after 10 minutes without requests:
    python jobs/serve.py --llm mistralai/Mixtral-8x7B-v0.1 --llm small=/models/small --gpus 2 --replicas 4
  for other machines (a key is needed then; it is made and its place is said):
    python jobs/serve.py --llm /models/teacher --gpus 1 --host 0.0.0.0
  on a cluster:
    ray job submit --working-dir . -- python jobs/serve.py --llm /shared/teacher --gpus 1 --host 0.0.0.0

asking it
    curl http://127.0.0.1:8000/v1/models
    curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \\
      -d '{"model": "teacher", "prompt": "The sun", "max_tokens": 32}'
  with a key:
    curl -H "Authorization: Bearer $(cat ~/.hare_ray/serve.key)" ...
  from Python:
    openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key=KEY or "none").completions.create(...)
  as the writer of a run (the key in the environment variable OPENAI_API_KEY):
    python jobs/hare.py --scale demo --root runs/demo --llm http://127.0.0.1:8000/v1#teacher

  GET /health says how many copies of each model there are. A copy that dies is replaced; meanwhile requests get 503.
  One that has too much to do answers 429. Both carry Retry-After. Ctrl-C or SIGTERM: new requests get 503, those that
  have come are answered, then everything is given back.
"""


def wish() -> Wish:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--llm",
        action="append",
        required=True,
        metavar="[NAME=]MODEL",
        dest="llms",
        help="a folder in Hugging Face's form, or a name on the hub; again for further models",
    )
    add(
        "--gpus",
        type=int,
        default=0,
        help="of one copy of a model, over which its tensors are split; 0: CPU (%(default)s)",
    )
    add(
        "--replicas",
        type=int,
        default=1,
        help="copies of each model at most; more start as requests wait (%(default)s)",
    )
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all of this machine's (%(default)s)")
    add("--port", type=int, default=8000, help="0 takes any that is free (%(default)s)")
    add(
        "--key-file",
        default="",
        metavar="FILE",
        help="holds the key that requests need, and is made where it is missing. Without it the key is that in the "
        "environment variable HARE_SERVE_KEY; without both none is needed on localhost, elsewhere that in "
        "~/.hare_ray/serve.key",
    )
    add(
        "--idle-minutes",
        type=float,
        default=10.0,
        help="after so long without a request the last copy ends, and the next starts one; 0: it stays (%(default)s)",
    )
    given = parser.parse_args()
    return Wish(**{**vars(given), "llms": tuple(given.llms)})


if __name__ == "__main__":
    try:
        serve(wish(), lambda line: print(line, file=sys.stderr, flush=True))
    except (ValueError, ModuleNotFoundError) as error:
        sys.exit(f"{sys.argv[0]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)

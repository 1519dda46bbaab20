"""What a finished stage says of itself, and the check of a recipe against it.

    root/<name>/<fp12>/part-00000.parquet     rows; .arrow where single rows are read (`Table.storage`)
    root/<name>/<fp12>/ledger-00000.parquet   what the part dropped, where it dropped anything
    root/<name>/<fp12>/part-00000.json        commits the part: rows, bytes, sha256, books
    root/<name>/<fp12>/<file>                 what a Make made
    root/<name>/manifest.json                 written last; says which <fp12> it speaks of

Only the manifest says "done". Parts under another <fp12> are never looked at, so a crashed run of an older recipe
cannot leak into a newer one. The section `run` (seconds, host, versions) is what two equal runs may differ in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from hare_ray.listing import difference
from hare_ray.stage import Source, Stage
from hare_ray.store import Root

Manifest = dict[str, Any]

SHORT_CHARS = 80
"""Of a value that a message tells whole."""

ABSENT = "(no such field)"
"""What a recipe of another version of the code says of a field, as opposed to null."""

BEFORE_CHARS = 20
"""Told of a long text before the first character that differs."""


class StaleError(ValueError):
    """A finished stage was made by another recipe."""


def folder(stage: Stage) -> str:
    """Where the parts and files of `stage` lie under the root."""
    return f"{stage.name}/{stage.fingerprint[:12]}"


def kind(stage: Stage) -> str:
    """The stage's kind in lower case: source, map, annotate, keep, rebalance, gather or make."""
    kinds = ("Source", "Map", "Annotate", "Keep", "Rebalance", "Gather", "Make")
    return next(c.__name__.lower() for c in type(stage).__mro__ if c.__name__ in kinds)


def describe(stage: Stage) -> Manifest:
    """The part of a manifest that follows from the stage alone."""
    described = {
        "name": stage.name,
        "kind": kind(stage),
        "fingerprint": stage.fingerprint,
        "recipe": stage.recipe,
        "inputs": {field: [s.name for s in stages] for field, stages in stage.inputs.items()},
    }
    if isinstance(stage, Source):
        described["files"] = [asdict(entry) for entry in stage.resolved[1]]
    elif described["kind"] != "make":
        described["base"] = stage.base.fingerprint
    return described


def encode(value: object) -> bytes:
    """JSON as every manifest and commit is written: stable, readable."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()


def load(root: Root, name: str) -> Manifest | None:
    """The manifest of the stage called `name`, or None; ValueError where it cannot be read."""
    path = f"{name}/manifest.json"
    try:
        found = json.loads(root.read(path))
    except (FileNotFoundError, NotADirectoryError):  # a file beside the stages, such as the report
        return None
    except ValueError as error:
        raise damaged(root, path, str(error)) from error
    if not isinstance(found, dict) or {"name", "fingerprint", "recipe", "run"} - found.keys():
        raise damaged(root, path, "it does not describe a stage")
    return found


def damaged(root: Root, path: str, why: str) -> ValueError:
    """What to do about a manifest that cannot be read."""
    return ValueError(f"{root.url}/{path} is damaged ({why}); delete it and run again: committed parts are kept")


def load_all(root: Root) -> dict[str, Manifest]:
    """All manifests under a root, by stage name."""
    found = {name: load(root, name) for name in root.reachable_names()}
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def recorded(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """Every recorded stage by name: those with a manifest of their own, and members of their passes."""
    members = {m["name"]: m for manifest in manifests.values() for m in manifest.get("members", ())}
    return {**members, **manifests}


def stale(order: Iterable[Stage], manifests: dict[str, Manifest]) -> dict[str, str]:
    """Name -> what differs, for every recorded stage that another recipe made, inputs before users.

    A stage that differs only because an input does says so with an empty string.
    """
    known = recorded(manifests)
    found = {}
    for stage in order:
        old = known.get(stage.name)
        if old is not None and old["fingerprint"] != stage.fingerprint:
            found[stage.name] = "; ".join(_differences(stage, old))
    return found


def _differences(stage: Stage, old: Manifest) -> list[str]:
    before, after = old["recipe"], stage.recipe
    lines = [f"{key}: {before[key]} -> {after[key]}" for key in ("class", "code") if before[key] != after[key]]
    fields = {**before["fields"], **after["fields"]}
    for name in fields:
        was, now = (recipe["fields"].get(name, ABSENT) for recipe in (before, after))
        if was == now or _is_input(was) or _is_input(now):
            continue
        if isinstance(stage, Source) and name == "listing":
            lines.append(difference(old.get("files", []), stage.resolved[1]))
        else:
            lines.append(_change(name, was, now))
    inputs = {field: [s.name for s in stages] for field, stages in stage.inputs.items()}
    for name in {**old["inputs"], **inputs}:
        was, now = old["inputs"].get(name, []), inputs.get(name, [])
        if was != now:
            lines.append(f"{name}: {', '.join(was) or 'nothing'} -> {', '.join(now) or 'nothing'}")
    return lines


def _change(where: str, was: object, now: object) -> str:
    """Where in a field two values part, and how: of many values the first that differ."""
    if isinstance(was, dict) and isinstance(now, dict) and was.keys() == now.keys():
        names = [name for name in was if was[name] != now[name]]
        return _change(f"{where}.{names[0]}", was[names[0]], now[names[0]]) + _others(names)
    if isinstance(was, list) and isinstance(now, list) and was and now:
        places = [n for n, (one, other) in enumerate(zip(was, now, strict=False)) if one != other]
        if len(was) == len(now):
            return _change(f"{where}[{places[0]}]", was[places[0]], now[places[0]]) + _others(places)
        first = places[0] if places else min(len(was), len(now))
        old, new = (_short(values[first]) if first < len(values) else "nothing" for values in (was, now))
        return f"{where}: {len(was)} -> {len(now)} values, the first that differs is [{first}]: {old} -> {new}"
    if isinstance(was, str) and isinstance(now, str) and max(len(was), len(now)) > SHORT_CHARS:
        same = next((n for n, (one, other) in enumerate(zip(was, now, strict=False)) if one != other), None)
        start = max(0, (min(len(was), len(now)) if same is None else same) - BEFORE_CHARS)
        return f"{where}: {_short(_stretch(was, start))} -> {_short(_stretch(now, start))}"
    return f"{where}: {_short(was)} -> {_short(now)}"


def _others(differing: Sequence[object]) -> str:
    return f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""


def _stretch(text: str, start: int) -> str:
    """What a person needs of a long text to find the place."""
    end = start + SHORT_CHARS - 10
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"


def _is_input(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, dict) and "stage" in item for item in items)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHORT_CHARS else f"{text[: SHORT_CHARS - 20]}... ({len(text)} characters)"


def refuse(differing: dict[str, str], root: Root) -> None:
    """Raise StaleError for the first stage whose own fields changed, naming field, values and the ways out."""
    if not differing:
        return
    name, what = next(((n, w) for n, w in differing.items() if w), next(iter(differing.items())))
    raise StaleError(
        f"{root.url}/{name} was made by another recipe: {what or 'its inputs changed'}. "
        f"Put it back; or --redo {name} (makes it and what follows anew); "
        f"or --root NEW --reuse {root.url} (keeps this run, takes over every stage that did not change)"
    )

"""The model card: README.md in the form Hugging Face reads, written from manifests and files of the run alone.

What is not known is left out; nothing depends on the day or the machine that writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hare_ray.model.shape import Shape

FRONT = """\
---
library_name: transformers
pipeline_tag: text-generation
tags:
- hare
- mistral
- small-language-model
---
"""

INTRODUCTION = """\
# {title}

A language model in the Mistral architecture, made with hare_ray (the HARE method, arXiv 2406.11410). It continues
text.
"""

USE = """\
## Use

In the folder of this file:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".")
print(tokenizer.decode(model.generate(**tokenizer("Once", return_tensors="pt"), max_new_tokens=50)[0]))
```
"""

ORIGIN = """\
## Origin

Every number above is taken from the manifests of the run that made the model.
"""

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """What is known of a model."""

    shape: Shape
    dtype: str
    context_tokens: int
    stage: str
    """Name of the stage that trained it."""
    fingerprint: str
    summary: Facts
    """summary.json of the training stage."""
    recipe: Facts
    """Fields of the training stage; under their names, of what it was given."""
    sources: tuple[tuple[str, Facts], ...] = field(default=())
    """Name and numbers of each table it was trained on."""

    def text(self) -> str:
        """The whole file."""
        origin = {"trained by stage": self.stage, "fingerprint": self.fingerprint}
        sections = [
            FRONT + "\n" + INTRODUCTION.format(title=f"Decoder of {parameters(self.shape.parameters)} parameters"),
            section("Architecture", self._architecture()),
            self._data(),
            section("Training", self.summary),
            section("Recipe", flat(self.recipe)),
            USE,
            ORIGIN + "\n" + grid(("what", "value"), origin.items()),
        ]
        return "\n".join(text for text in sections if text)

    def _architecture(self) -> Facts:
        return {
            "parameters": self.shape.parameters,
            **asdict(self.shape),
            "head_dim": self.shape.head_dim,
            "context_tokens": self.context_tokens,
            "dtype": self.dtype,
        }

    def _data(self) -> str:
        names = list(dict.fromkeys(name for _, facts in self.sources for name in facts))
        if not names:
            return ""
        rows = [(source, *(shown(facts.get(name)) for name in names)) for source, facts in self.sources]
        return "## Training data\n\n" + grid(("source", *map(words, names)), rows)


def section(title: str, facts: Facts) -> str:
    """A table of the facts that are known; empty where none is."""
    known = [(words(name), value) for name, value in facts.items() if value is not None and value != ""]
    return f"## {title}\n\n" + grid(("what", "value"), known) if known else ""


def grid(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([shown(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def flat(facts: Facts, before: str = "") -> dict[str, Any]:
    """The plain values of a recipe in stable form, by dotted name.

    Inputs and names of classes are left out, and the shape, which has a table of its own.
    """
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            value = {str(number): item for number, item in enumerate(value, 1)}
        if isinstance(value, Mapping):
            if "stage" not in value and value.get("class") != Shape.__name__:
                found.update(flat(value, f"{before}{name}."))
        elif isinstance(value, list):
            found[before + name] = ", ".join(shown(item) for item in value)
        elif name != "class":
            found[before + name] = value
    return found


def words(name: str) -> str:
    """A name of code as words."""
    return name.replace("_", " ")


def shown(value: Any) -> str:
    """A value for a cell of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def parameters(count: int) -> str:
    """A number of weights as people say it."""
    for unit, name in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if count >= unit:
            return f"{count / unit:.2f}{name}"
    return str(count)

"""Who writes synthetic text: what `--llm` says, or the scale's choice, or the model trained a moment ago.

""                                    the model trained here: a base model, which continues texts
http://host:8000/v1#Qwen/Qwen3-8B     an OpenAI-compatible server, and the model there; key in OPENAI_API_KEY
/models/mixtral                       a folder in Hugging Face form, served by vLLM on Ray Serve
mistralai/Mixtral-8x7B-Instruct-v0.1  a name on the hub, likewise
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hare_ray.stage import Source, Stage


@dataclass(frozen=True)
class Writer:
    """An LLM and the way to talk to it."""

    model: Stage | None
    """Its folder; None: it has only a name."""
    llm: str
    endpoint: str
    """Base URL of a server; empty: served here."""
    chat: bool
    """Whether it follows instructions; otherwise it continues texts."""


def writer(asked: str, trained_here: Stage | None) -> Writer:
    """The writer that `asked` stands for; `trained_here` where that is empty. Asks no network."""
    if not asked:
        return Writer(trained_here, "", "", chat=False)
    if asked.startswith(("http://", "https://")):
        endpoint, _, name = asked.partition("#")
        if not name:  # its answers would be taken for those of any other model
            raise ValueError(f"--llm {asked} names no model; give one after #, such as {asked}#Qwen/Qwen3-8B")
        return Writer(None, name, endpoint, chat=True)
    folder = Path(asked)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"--llm {asked} has no config.json; give a model's folder in Hugging Face form")
        return Writer(Source(label="llm", location=asked), "", "", chat=has_chat_template(folder))
    if folder.is_absolute() or asked.startswith(".") or "://" in asked or asked != asked.strip():
        raise ValueError(f"--llm {asked} is not a folder; give one, a name on the hub, or http://HOST/v1#MODEL")
    return Writer(None, asked, "", chat=True)


def has_chat_template(folder: Path) -> bool:
    """Whether a model's folder says how to talk to it."""
    settings = folder / "tokenizer_config.json"
    inside = settings.is_file() and "chat_template" in json.loads(settings.read_text(encoding="utf-8"))
    return inside or (folder / "chat_template.jinja").is_file()

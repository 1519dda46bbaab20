"""Stages that the tests of synth run, here and on Ray."""

import json
import os
import random
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import xxhash

from hare_ray.gather import Desk
from hare_ray.schema import REASON
from hare_ray.stage import Files, Make, Map, PartFunction, Source, Stage
from hare_ray.synth.generate import Generate
from hare_ray.synth.prompt import PROMPT

ASKED = PROMPT.set(PROMPT.get_field_index("prompt"), pa.field("prompt", pa.large_string()))
"""PROMPT in which one may be null."""

WORDS = ("the", "a", "cat", "dog", "sun", "tree", "sees", "eats", "under", "over", "big", "small", "red", "old")


class LinesAsPrompts(Map):
    """One prompt a line; each file is a part. The line NULL is no prompt; SCHEMA and a JSON schema is one with it."""

    files: Stage
    writes: ClassVar[pa.Schema] = ASKED
    derives: ClassVar[bool] = True

    def prepare(self, files: Files) -> PartFunction:
        def read(splits: pa.Table) -> pa.Table:
            rows = []
            for split in splits.to_pylist():
                text = Path(split["path"]).read_text()
                for number, line in enumerate(text.split("\n") if text else []):
                    url = f"https://example.org/{split['file']}/{number}#plain"
                    same = {"url": url, "topic": number % 3, "template": "plain", "seed": line}
                    asks = {
                        "prompt": None if line == "NULL" else line,
                        "schema": line.removeprefix("SCHEMA ") if line.startswith("SCHEMA ") else None,
                    }
                    rows.append({"id": xxhash.xxh3_128_digest(url.encode()), **same, **asks, "reason": None})
            return pa.Table.from_pylist(rows, schema=ASKED.append(REASON))

        return read


class DyingClient(Generate):
    """Kills the process it is answered in, once, after the first chunk was journaled."""

    marker: str
    unidentified: ClassVar[frozenset[str]] = Generate.unidentified | {"marker"}

    def gather(self, desk: Desk) -> dict[str, int]:
        return super().gather(_Dying(**{name: getattr(desk, name) for name in desk.__dataclass_fields__}))


class _Dying(Desk):
    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        assert isinstance(self.stage, DyingClient)
        marker = Path(self.stage.marker)
        if name.endswith(".arrow") and not marker.exists():
            marker.write_text(name)
            os._exit(9)


class TinyMistral(Make):
    """A random Mistral with a byte-level BPE of its own, saved as transformers saves them."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    mlp: int | None = None
    """Width of the inner layer; None: twice `hidden`."""

    def make(self, desk: Desk) -> dict[str, int]:
        save_tiny_mistral(desk.folder, self)
        return {}


def save_tiny_mistral(folder: Path, size: TinyMistral) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    draw = random.Random(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocabulary,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((" ".join(draw.choices(WORDS, k=50)) for _ in range(200)), trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.mlp or 2 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.hidden // size.heads,
        max_position_embeddings=size.context,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    MistralForCausalLM(config).save_pretrained(folder)


def prompts(folder: Path, *counts: int) -> LinesAsPrompts:
    """Prompts in parts of these many rows."""
    folder.mkdir(parents=True)
    draw = random.Random(1)
    for part, count in enumerate(counts):
        lines = [f"{part} {row} " + " ".join(draw.choices(WORDS, k=6)) for row in range(count)]
        (folder / f"{part}.txt").write_text("\n".join(lines))
    return LinesAsPrompts(files=Source(location=str(folder), part_bytes=1))


def answers(root: str, stage: Generate) -> list[list[dict]]:
    """The rows of each part of a finished stage, from disk."""
    import pyarrow.parquet as pq

    manifest = json.loads((Path(root) / stage.name / "manifest.json").read_text())
    place = Path(root) / stage.name / manifest["fingerprint"][:12]
    return [pq.read_table(place / f"part-{part:05d}.parquet").to_pylist() for part in range(len(manifest["parts"]))]

"""A training stage whose result is given, and a tokenizer, as real stages for the tests of the export."""

import json
from dataclasses import asdict, dataclass
from typing import ClassVar

import pyarrow as pa

from hare_ray.gather import Desk
from hare_ray.model.shape import Shape
from hare_ray.schema import ID, REASON
from hare_ray.stage import Files, Make, Map, PartFunction, Source, Stage, Table


class Numbers(Map):
    """One row per split."""

    files: Source
    writes: ClassVar[pa.Schema] = pa.schema([ID, pa.field("url", pa.string()), pa.field("end", pa.int64())])

    def prepare(self, files: Files) -> PartFunction:
        def measure(splits: pa.Table) -> pa.Table:
            ids = pa.array([bytes(16)] * len(splits), ID.type)
            reason = pa.nulls(len(splits), REASON.type)
            return pa.table({"id": ids, "url": splits["file"], "end": splits["end"], "reason": reason})

        return measure


class Words(Make):
    """A byte-pair tokenizer without merges; it looks at no text."""

    docs: Table
    size: int

    def make(self, desk: Desk) -> dict[str, int]:
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

        special = ["<unk>", "<s>", "</s>", "<pad>"]
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[: self.size - len(special)]
        vocabulary = {word: number for number, word in enumerate([*special, *alphabet])}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(word, special=True) for word in special])
        tokenizer.save(str(desk.folder / "tokenizer.json"))
        names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": {"content": "<pad>"}}
        (desk.folder / "special_tokens_map.json").write_text(json.dumps(names))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **names, "pad_token": "<pad>"}
        (desk.folder / "tokenizer_config.json").write_text(json.dumps(config))
        return {"words": len(vocabulary)}


@dataclass(frozen=True)
class Phase:
    steps: int


class Mixed(Make):
    """A Make between tables and training, as a mixture is."""

    tables: tuple[Table, ...]
    weights: tuple[float, ...]
    phases: tuple[Phase, ...]

    def make(self, desk: Desk) -> dict[str, int]:
        sources = [{"table": table.name, "actual": 7} for table in self.tables]
        (desk.folder / "mixture.json").write_text(json.dumps({"sources": sources}))
        return {}


class Trained(Make):
    """First weights, called trained."""

    mixture: Stage
    tokenizer: Stage
    shape: Shape
    seed: int
    learning_rate: float

    def make(self, desk: Desk) -> dict[str, int]:
        from safetensors.torch import save_file

        from hare_ray.model.attention import choose
        from hare_ray.model.decoder import Decoder

        save_file(Decoder(self.shape, choose("cpu"), self.seed).state_dict(), desk.folder / "weights.safetensors")
        (desk.folder / "shape.json").write_text(json.dumps(asdict(self.shape)))
        summary = {
            "stage": self.name,
            "steps": 12,
            "tokens": 12_288,
            "final_loss": 4.605171,
            "mfu": None,
            "seconds": 3.5,
        }
        (desk.folder / "summary.json").write_text(json.dumps(summary))
        return {"tokens": 12_288}

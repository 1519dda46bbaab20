"""A tiny transformer with random weights, in a folder as the hub has it: real code, no download, a second to make."""

from pathlib import Path

POSITIONS = 32
DIMENSIONS = 16


def teacher(folder: Path, words: list[str], damaged: bool = False) -> Path:
    """A BERT of one layer that knows `words`; `damaged`: the vector of the last is no number."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set(words))]
    backend = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(names), hidden_size=DIMENSIONS, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=2 * DIMENSIONS, max_position_embeddings=POSITIONS, initializer_range=0.5,
    )  # fmt: skip
    model = BertModel(config)
    if damaged:
        model.embeddings.word_embeddings.weight.data[-1] = float("nan")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

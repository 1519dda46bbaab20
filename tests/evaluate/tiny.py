"""Tiny models with tokenizers, as an export leaves them, and items; importable by tests and by Ray's workers."""

import json
import random
from pathlib import Path

WORDS = """
    garden river stone light winter copper engine paper window market signal harbour method kitchen forest letter
    little quiet early narrow green distant open careful simple heavy
""".split()  # noqa: SIM905


def sentence(draw: random.Random, count: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(count)).capitalize() + "."


def write_model(
    folder: Path, *, layers=2, hidden=64, vocabulary=512, context=64, seed=1, adds_start=False, std=0.02
) -> Path:
    """A random Mistral with a byte-level BPE: <unk> 0, <s> 1, </s> 2, <pad> 3."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    draw = random.Random(0)
    bpe = ByteLevelBPETokenizer()
    corpus = [sentence(draw, 12) for _ in range(300)]
    bpe.train_from_iterator(corpus, vocab_size=vocabulary, special_tokens=["<unk>", "<s>", "</s>", "<pad>"])
    raw = bpe._tokenizer
    if adds_start:
        raw.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=int(hidden * 2.75), num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 32), num_key_value_heads=max(1, hidden // 64), head_dim=32,
        max_position_embeddings=context, sliding_window=None, bos_token_id=1, eos_token_id=2, pad_token_id=3,
        initializer_range=std, tie_word_embeddings=False,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(folder)
    return folder


def write_items(folder: Path, texts: list[str], cloze: list[tuple[str, list[str], int]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"id": f"t{n}", "url": f"https://t/{n}", "text": text} for n, text in enumerate(texts)]
    (folder / "bits_per_byte.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = [
        {"id": f"c{n}", "url": f"https://c/{n}", "question": question, "choices": choices, "answer": answer}
        for n, (question, choices, answer) in enumerate(cloze)
    ]
    (folder / "cloze.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    return folder


def some_texts(count: int, seed: int, longest: int) -> list[str]:
    draw = random.Random(seed)
    return [sentence(draw, draw.randint(3, longest)) for _ in range(count)]


def some_cloze(count: int, seed: int) -> list[tuple[str, list[str], int]]:
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        choices = draw.sample(WORDS, 4)
        before, after = sentence(draw, 8)[:-1], sentence(draw, 4).lower()
        found.append((f"{before} ____ {after}", choices, draw.randrange(4)))
    return found

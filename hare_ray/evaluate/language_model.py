# ruff: noqa: TID253 - this module is lm-eval's view of a model in torch; only workers import it
"""A transformers model as lm-eval asks it: log-likelihoods of continuations and of whole texts, greedy text.

Context and continuation are encoded by lm-eval's own code (inherited), and long texts cut by its windows. It has a
class of its own for such models, "hf"; this one

    begins every text and prompt with <s> exactly once. There it is up to the tokenizer: where that adds one, a text
        for bits per byte has two, and the second is scored as if it were text
    forms batches of like lengths also from windows of long texts
    needs neither accelerate nor peft

A window holds up to `max_length` input tokens; a longer context loses its beginning, and a text that does not fit is
scored in windows that follow each other, each token once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

LOGITS_AT_ONCE = {"cpu": 1 << 21, "cuda": 1 << 30}
"""Logits of a batch: 8 MiB in float32, a CPU's cache (eight times as many took 16 % longer there), or 4 GiB."""

MAX_BATCH = 256

GENERATED_TOKENS = 256
"""Where a task names no limit: lm-eval's."""

Encoded = tuple[Any, list[int], list[int]]
"""Whatever lm-eval calls it by, tokens of the context, tokens to score."""


class LanguageModel(TemplateLM):
    """A causal model and its tokenizer in memory, in float32."""

    def __init__(self, folder: Path, device: str, context_tokens: int) -> None:
        """Load both from the folder alone."""
        super().__init__()
        transformers_logging.disable_progress_bar()
        if device == "cpu":
            torch.set_num_threads(1)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        known = model.config.max_position_embeddings
        if known < context_tokens:
            raise ValueError(
                f"the model in {folder} was made for {known} tokens; given context_tokens={context_tokens}, "
                f"expected at most {known}: set context_tokens to the smallest context among the models"
            )
        self.model = model.to(device).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.max_length = context_tokens
        self.place = device
        self.tokens_at_once = LOGITS_AT_ONCE[device] // model.config.vocab_size

    @property
    def eot_token_id(self) -> int:
        """The token that ends a document."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token that the first token of a text follows."""
        start = self.tokenizer.bos_token_id
        return self.eot_token_id if start is None else start

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: object) -> list[int]:
        """Tokens; after <s>, where the tokenizer has one, unless `add_special_tokens` is False."""
        tokens = self.tokenizer.encode(string, add_special_tokens=False)
        start = self.tokenizer.bos_token_id
        return tokens if add_special_tokens is False or start is None else [start, *tokens]

    def fits(self, texts: Sequence[str]) -> bool:
        """Whether each text can be scored whole, in one window."""
        return all(0 < len(self.tok_encode(text, add_special_tokens=False)) <= self.max_length for text in texts)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Of whole texts of any length."""
        windows: list[Encoded] = []
        whose: list[int] = []
        for number, request in enumerate(requests):
            tokens = self.tok_encode(str(request.args[0]), add_special_tokens=False)
            rolled = get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, context_len=1)
            found: list[Encoded] = [(None, *make_disjoint_window(window)) for window in rolled]
            windows += found
            whose += [number] * len(found)
        totals = [0.0] * len(requests)
        for number, (likelihood, _) in zip(whose, self._loglikelihood_tokens(windows), strict=True):
            totals[number] += likelihood
        return totals

    def _loglikelihood_tokens(self, requests: list[Encoded], **kwargs: object) -> list[tuple[float, bool]]:
        """Log-likelihood of every request's last tokens, and whether greedy decoding would give them."""
        too_long = [len(scored) for _, _, scored in requests if len(scored) > self.max_length]
        if too_long:
            raise ValueError(
                f"given a text of {max(too_long)} tokens to score at once, expected at most {self.max_length}; "
                "raise context_tokens, or leave such items out of the benchmark"
            )
        found: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        lengths = [len(context) + len(scored) for _, context, scored in requests]
        for rows in self._batches(lengths):
            cut = [(requests[row][1] + requests[row][2])[-(self.max_length + 1) :] for row in rows]
            logits = self.model(self._padded([tokens[:-1] for tokens in cut])).logits
            for row, tokens, own in zip(rows, cut, logits, strict=True):
                size, end = len(requests[row][2]), len(tokens) - 1
                targets = torch.tensor(tokens[-size:], device=self.place)
                scores = own[end - size : end].float()
                likelihood = -functional.cross_entropy(scores, targets, reduction="sum")
                found[row] = (float(likelihood), bool((scores.argmax(-1) == targets).all()))
        return found

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows of like lengths, longest first; of equal ones in their order."""
        order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        start = 0
        while start < len(order):
            longest = min(lengths[order[start]], self.max_length)
            size = min(max(self.tokens_at_once // longest, 1), MAX_BATCH)
            yield order[start : start + size]
            start += size

    def _padded(self, rows: Iterable[list[int]]) -> torch.Tensor:
        """Rows of one length, padded on the right, where causal attention does not look."""
        tensors = [torch.tensor(row) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(self.place)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy continuations up to the first stop text."""
        return [self._greedy(*request.args) for request in requests]

    def _greedy(self, context: str, asked: dict[str, Any]) -> str:
        if asked.get("do_sample"):
            raise ValueError(f"given the generation settings {asked}, expected greedy decoding: do_sample false")
        until = asked.get("until") or []
        stops = [until] if isinstance(until, str) else [stop for stop in until if stop]
        limit = asked.get("max_gen_toks", GENERATED_TOKENS)
        if limit >= self.max_length:
            raise ValueError(f"given {limit} tokens to generate, expected fewer than context_tokens={self.max_length}")
        prompt = torch.tensor([self.tok_encode(context)[limit - self.max_length :]], device=self.place)
        settings: dict[str, Any] = {"stop_strings": stops, "tokenizer": self.tokenizer} if stops else {}
        made = self.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=limit,
            do_sample=False,
            pad_token_id=self.eot_token_id,
            **settings,
        )
        text = self.tokenizer.decode(made[0, prompt.shape[1] :], skip_special_tokens=True)
        return text[: min([text.find(stop) for stop in stops if stop in text], default=len(text))]

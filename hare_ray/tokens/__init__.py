"""From text to training sequences: a tokenizer, documents packed whole into rows, and how much of each source."""

from hare_ray.tokens.compress import CompressedTokenizer
from hare_ray.tokens.given import GivenTokenizer
from hare_ray.tokens.mixture import Mixture
from hare_ray.tokens.pack import Pack
from hare_ray.tokens.repeats import Repeats
from hare_ray.tokens.token_counts import TokenCounts
from hare_ray.tokens.tokenised import Tokenised
from hare_ray.tokens.tokenizer import Tokenizer

__all__ = [
    "CompressedTokenizer",
    "GivenTokenizer",
    "Mixture",
    "Pack",
    "Repeats",
    "TokenCounts",
    "Tokenised",
    "Tokenizer",
]

"""Words and n-grams of Arrow text columns as 64-bit hashes: the pass over bytes that the rooms share."""

from hare_ray.text.ngrams import document_hashes, ngram_hashes
from hare_ray.text.words import Words, characters_of, table_words, text_buffers, words_of

__all__ = [
    "Words", "characters_of", "document_hashes", "ngram_hashes", "table_words", "text_buffers", "words_of",
]  # fmt: skip

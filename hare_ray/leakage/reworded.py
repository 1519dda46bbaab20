"""Lightly reworded questions: some words replaced, dropped, added or swapped, so that no long run of words is left.

A document that holds a rare gram of a question (an anchor, `hare_ray.leakage.anchors`) is compared with the question
there, in a window of the question's length and a quarter more on either side:

    share = weight of the longest common subsequence of words / weight of the question's words

where the weight of a word is its information and PLAIN_WEIGHT, so that a text which has the question's rare words in
their order gets near 1, and one that has its "which of the following" does not. The subsequence is the heaviest one, by
dynamic programming, which costs length times window. So before it the question's words are looked for in the window
whatever their order, the rarest first, until too much is missing: of ordinary text hardly a window passes, and most
fail after a few words. Order is what tells a reworded question from a page about its subject.

A question is looked at once per place of a document, give or take the margin: an anchor that points to where another
has led already is passed over. Documents know nothing of each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hare_ray.kernel import njit

SLACK = 4
"""A window is longer than its question by 1 / SLACK of it, and SLACK words, on either side."""

ROUNDING = 1e-3
"""Of sums of 32-bit weights."""

PLAIN_WEIGHT = np.float32(0.25)
"""Added to the weight of every word of a question, so that one rare name does not stand for a whole sentence."""

MAX_QUESTION_WORDS = 512
"""Of a longer question its first words are looked for reworded, since the time grows with the square of its length;
its n-grams are looked for all the same."""

FIRST_ROOM = 64
"""Rows of the table of what was found, which grows."""


class Questions(NamedTuple):
    """Questions as words in order, as different words with the heaviest first, and by anchor."""

    starts: NDArray[np.int64]
    words: NDArray[np.uint64]
    weights: NDArray[np.float32]
    bag_starts: NDArray[np.int64]
    bag_words: NDArray[np.uint64]
    bag_weights: NDArray[np.float32]
    totals: NDArray[np.float32]
    items: NDArray[np.int32]
    posting_starts: NDArray[np.int32]
    posting_questions: NDArray[np.int32]
    posting_offsets: NDArray[np.int32]


class Found(NamedTuple):
    """Runs of words that leak: document, first word, words, item, and what part of the item it is."""

    documents: NDArray[np.int64]
    firsts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    items: NDArray[np.int64]
    shares: NDArray[np.float32]


@njit
def has(window: NDArray[np.uint64], word: np.uint64) -> bool:
    """Whether a word is in the window; without a branch, so that it takes vector instructions."""
    found = False
    for other in window:
        found |= other == word
    return found


@njit
def lacks(window: NDArray[np.uint64], bag: NDArray[np.uint64], weights: NDArray[np.float32], allowed: float) -> bool:
    """Whether the words of a bag, heaviest first, that are not in the window weigh more than `allowed`."""
    missing = 0.0
    for place in range(len(bag)):
        if not has(window, bag[place]):
            missing += weights[place]
            if missing > allowed:
                return True
    return False


@njit
def ordered_weight(window: NDArray[np.uint64], words: NDArray[np.uint64], weights: NDArray[np.float32]) -> float:
    """Weight of the heaviest common subsequence."""
    best = np.zeros(len(words) + 1, np.float32)
    for word in window:
        diagonal = np.float32(0)
        for place in range(len(words)):
            above = best[place + 1]
            here = max(above, best[place])
            if words[place] == word:
                here = max(here, diagonal + weights[place])
            best[place + 1] = here
            diagonal = above
    return best[len(words)]


@njit
def reworded_questions(
    words: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    hits: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]],
    questions: Questions,
    least: float,
) -> Found:
    """Questions of which `least` or more is near a hit: hits are place, anchor and document, in order."""
    # By question the document and the begin last looked at, and by posting the place of the hit: of one anchor the
    # begins only grow, so that a text that repeats two of them in turn is not looked at again and again.
    looked = np.full((len(questions.items), 2), -1, np.int64)
    followed = np.full(len(questions.posting_questions), -1, np.int64)
    rows, shares, count = np.empty((FIRST_ROOM, 4), np.int64), np.empty(FIRST_ROOM, np.float32), 0
    for hit in range(len(hits[0])):
        at, anchor, document = hits[0][hit], hits[1][hit], hits[2][hit]
        for posting in range(questions.posting_starts[anchor], questions.posting_starts[anchor + 1]):
            question = questions.posting_questions[posting]
            first, stop = questions.starts[question], questions.starts[question + 1]
            length = stop - first
            slack = length // SLACK + SLACK
            begin = at - questions.posting_offsets[posting]
            if looked[question, 0] == document and abs(begin - looked[question, 1]) <= slack:
                continue
            if followed[posting] >= offsets[document] and at - followed[posting] <= slack:
                continue
            looked[question, 0], looked[question, 1], followed[posting] = document, begin, at
            low = max(begin - slack, offsets[document])
            window = words[low : min(begin + length + slack, offsets[document + 1])]
            bag = slice(questions.bag_starts[question], questions.bag_starts[question + 1])
            allowed = (1 - least) * float(questions.totals[question]) + ROUNDING
            if lacks(window, questions.bag_words[bag], questions.bag_weights[bag], allowed):
                continue
            weight = ordered_weight(window, questions.words[first:stop], questions.weights[first:stop])
            if weight < least * questions.totals[question] - ROUNDING:
                continue
            if count == len(rows):
                rows, shares = np.concatenate((rows, rows)), np.concatenate((shares, shares))
            rows[count, 0], rows[count, 3] = document, questions.items[question]
            rows[count, 1] = max(begin, offsets[document])
            rows[count, 2] = min(begin + length, offsets[document + 1]) - rows[count, 1]
            shares[count] = weight / questions.totals[question]
            count += 1
    return Found(rows[:count, 0], rows[:count, 1], rows[:count, 2], rows[:count, 3], shares[:count])

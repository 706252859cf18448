"""Nearly the same twice, and too much of one: near-duplicates, 10-grams of the evaluation sets, a cap per prompt.

    near_duplicates   indices of texts that are nearly an earlier one: candidates by MinHash, verdict by exact Jaccard
    Contamination     which run of 10 words a text shares with an evaluation set
    over_cap          indices of the samples beyond the first few of a prompt

Words    runs of letters and digits, case folded, compatibility forms unified; in scripts without spaces (Chinese,
         Japanese, Thai, ...) every character is a word, so one rule serves all languages.
Cost     near_duplicates: 8 bytes per distinct 5-gram of every text that stays; about 6 ms per 10,000 characters, measured.
         Nothing here is random: equal texts in, equal indices out.
Source   10-gram rule: DeepSeek-R1, arXiv:2501.12948v2, supplement D.1 (any text with a 10-gram of an evaluation question
         or solution is removed). MinHash: Broder 1997. The paper does not speak of near-duplicates; both are ours.
Departure  ``datasketch`` does the same with scipy behind it; these few lines need nothing and verify every candidate
         exactly, so a text is never dropped for a chance collision.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np


SHINGLE = 5  # words; arXiv:2107.06499 (dedup for language models) takes 5-grams for its near-duplicates, too
SIGNATURE = 128  # minima per text, in BANDS bands
BANDS = 32  # of 4 minima: a pair of similarity 0.8 shares a band with probability 1 - (1 - 0.8^4)^32 > 0.9999999
GRAM = 10  # words, DeepSeek-R1 v2 D.1
LEAST_GRAM = 5  # words of an evaluation question that is shorter than GRAM; below that anything would match

_PLAIN = re.compile(r"[^\W_]+")
_SPACELESS = (
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\U00020000-\U000323af"
)
_WORD = re.compile(f"[{_SPACELESS}]|(?:(?![{_SPACELESS}])[^\\W_])+")


def words(text: str) -> list[str]:
    """The words of a text for comparing; see the module's first lines.

    >>> words("Compute 12+3, 再加上4.")
    ['compute', '12', '3', '再', '加', '上', '4']
    """
    if text.isascii():
        return _PLAIN.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def shingles(text: str, size: int = SHINGLE) -> np.ndarray:
    """(S,) sorted distinct 64-bit hashes of the runs of ``size`` words; a shorter text is one run; none without words."""
    found = words(text)
    runs = {"\0".join(found[i : i + size]) for i in range(max(1, len(found) - size + 1))} if found else set()
    hashes = [int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "little") for run in runs]
    return np.sort(np.array(hashes, dtype=np.uint64))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Shared part of two sorted sets of shingles, in [0, 1]; 1 for two empty ones."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - shared
    return shared / union if union else 1.0


_RANDOM = np.random.default_rng(20250122)  # fixed: signatures never depend on a run's seed
_FACTORS = _RANDOM.integers(1, 2**63, SIGNATURE, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _RANDOM.integers(0, 2**63, SIGNATURE, dtype=np.uint64)


def signature(hashes: np.ndarray) -> np.ndarray:
    """(SIGNATURE,) 32-bit minima of the shingles under as many fixed hash functions (multiply, add, upper half)."""
    smallest = np.full(SIGNATURE, np.iinfo(np.uint32).max, dtype=np.uint32)
    for start in range(0, len(hashes), 4096):  # in pieces, so that a book does not take a gigabyte
        mixed = hashes[start : start + 4096, None] * _FACTORS[None, :] + _OFFSETS[None, :]  # wraps around at 2^64
        smallest = np.minimum(smallest, (mixed >> np.uint64(32)).astype(np.uint32).min(axis=0))
    return smallest


def near_duplicates(
    texts: Sequence[str], similarity: float = 0.8, size: int = SHINGLE
) -> dict[int, tuple[int, float]]:
    """The texts that are nearly an earlier one that stays: ``{index: (index of the one that stays, similarity)}``.

    Texts are taken in order; the first of its kind stays, and only those that stay are compared with, so a chain of
    small changes is not dropped to its last member. A text without any word is like no other.

    Args:
        similarity: Jaccard similarity of the shingle sets from which on two texts are nearly the same, in (0, 1].
        size: words per shingle.

    Raises:
        ValueError: the similarity is not in (0, 1].
    """
    if not 0.0 < similarity <= 1.0:
        raise ValueError(
            f"near_duplicate_similarity={similarity} is not in (0, 1]; 0.8 is usual, 1 drops equals only."
        )
    rows = SIGNATURE // BANDS
    buckets: dict[tuple[int, bytes], list[int]] = {}
    kept: dict[int, np.ndarray] = {}
    found: dict[int, tuple[int, float]] = {}
    for index, text in enumerate(texts):
        hashes = shingles(text, size)
        if not len(hashes):
            continue
        minima = signature(hashes)
        keys = [(band, minima[band * rows : (band + 1) * rows].tobytes()) for band in range(BANDS)]
        for candidate in sorted({other for key in keys for other in buckets.get(key, ())}):
            other = kept[candidate]
            if min(len(other), len(hashes)) < similarity * max(len(other), len(hashes)):
                continue  # sets of such different sizes cannot be so similar
            alike = jaccard(hashes, other)
            if alike >= similarity:
                found[index] = (candidate, alike)
                break
        else:
            kept[index] = hashes
            for key in keys:
                buckets.setdefault(key, []).append(index)
    return found


@dataclass
class Contamination:
    """The 10-grams of evaluation sets. ``add`` them, then ask ``shared`` of every text.

    An evaluation question of ``LEAST_GRAM`` to 9 words counts as one run of its own length (departure: by the paper's
    letter a question shorter than ten words could not be recognised at all).
    """

    size: int = GRAM
    grams: dict[int, set[int]] = field(default_factory=dict)  # words in a run -> hashes of the runs

    def add(self, texts: Iterable[str], whole_if_short: bool = True) -> None:
        """Takes in questions, or solutions (``whole_if_short=False``: a short answer is no fingerprint)."""
        for text in texts:
            found = words(text)
            short = len(found) < self.size
            if short and not (whole_if_short and len(found) >= LEAST_GRAM):
                continue
            length = len(found) if short else self.size
            of_length = self.grams.setdefault(length, set())
            of_length.update(hash_of(found[i : i + length]) for i in range(len(found) - length + 1))

    def shared(self, text: str) -> str | None:
        """The first run of words that the text shares with the evaluation sets, or None."""
        found = words(text)
        for length, known in sorted(self.grams.items(), reverse=True):
            for i in range(len(found) - length + 1):
                if hash_of(found[i : i + length]) in known:
                    return " ".join(found[i : i + length])
        return None


def hash_of(run: Sequence[str]) -> int:
    """64 bits of a run of words; with a million grams the chance of any false hit in a billion is below 0.01 %."""
    return int.from_bytes(hashlib.blake2b("\0".join(run).encode(), digest_size=8).digest(), "little")


def over_cap(keys: Sequence[str], cap: int) -> list[int]:
    """Indices of the samples beyond the first ``cap`` with the same key (the prompt's hash), in order.

    >>> over_cap(["a", "b", "a", "a"], cap=2)
    [3]

    Raises:
        ValueError: the cap is below 1.
    """
    if cap < 1:
        raise ValueError(f"per_prompt={cap} keeps nothing; give a whole number of at least 1.")
    seen: dict[str, int] = {}
    beyond = []
    for index, key in enumerate(keys):
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > cap:
            beyond.append(index)
    return beyond

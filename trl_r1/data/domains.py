"""Domains: how much of each domain of a mixed set of rows is trained on."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trl_r1.errors import did_you_mean
from trl_r1.storage.structured import read_mapping


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

OTHER = "other"  # every domain that is not named


def read_shares(name: str, value: Any) -> dict[str, float]:
    """A mapping of domains to shares in [0, 1], from YAML or JSON; None is empty.

    Raises:
        ValueError: no mapping, or a share that is none.
    """
    shares = {} if value is None else read_mapping(name, value)
    for domain, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise ValueError(
                f"{name}: {domain!r} has {share!r}; a share is a number from 0 (none) to 1 (all of them)."
            )
    return {str(domain): float(share) for domain, share in shares.items()}


def share_of_domains(rows: Dataset, shares: Mapping[str, float], seed: int, name: str) -> Dataset:
    """Of each domain a share of its rows, drawn from the seed, in the order they have.

    Args:
        shares: by the rows' own column `domain`; `other` is for domains without a share of their own. What neither names
            is kept whole.

    Raises:
        ValueError: the rows have no domains, a share's domain is a slip for one of theirs, or nothing is left. A
            domain that merely has no rows is logged: a sampling may have kept none.
    """
    if not shares:
        return rows
    if "domain" not in rows.column_names:
        raise ValueError(
            f"{name} has no column 'domain', so domain_shares cannot choose among its rows; leave it out."
        )
    places: dict[str, list[int]] = {}
    for number, domain in enumerate(rows["domain"]):
        places.setdefault(str(domain), []).append(number)
    for domain in shares:
        if domain == OTHER or domain in places:
            continue
        meant, found = did_you_mean(domain, places), f"There are: {', '.join(sorted(places))}."
        if meant:
            raise ValueError(f"domain_shares names {domain!r}, and no row of {name} is of that domain.{meant} {found}")
        logger.warning("domain_shares names %r, and no row of %s is of that domain. %s", domain, name, found)
    kept: list[int] = []
    for domain, numbers in places.items():
        share = shares.get(domain, shares.get(OTHER, 1.0))
        kept += random.Random(f"domain {domain} {seed}").sample(numbers, round(share * len(numbers)))
    if not kept:
        raise ValueError(f"domain_shares leaves none of the {len(rows)} rows of {name}; raise a share.")
    return rows.select(sorted(kept))

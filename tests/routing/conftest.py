"""A sampler that is a plain list."""

from dataclasses import dataclass, field, replace

import pytest

from trl_r1.routing.paths import Candidate


@dataclass
class Scripted:
    """Plays the model: the texts of each prompt in their order; keeps what it was asked."""

    texts: dict
    name: str = "scripted"
    asked: list = field(default_factory=list)
    at: dict = field(default_factory=dict)

    def draw(self, asks, settings, seed):
        found = []
        for ask in asks:
            self.asked.append((ask.prompt, ask.count))
            start = self.at.get(ask.prompt, 0)
            rows = self.texts[ask.prompt][start : start + ask.count]
            assert len(rows) == ask.count, "the script is over"
            self.at[ask.prompt] = start + ask.count
            made = [
                row if isinstance(row, Candidate) else Candidate(row, 10, entropy=0.1, logprob=-0.1) for row in rows
            ]
            if ask.max_new_tokens is not None:
                made = [
                    replace(
                        p,
                        text=p.text[: ask.max_new_tokens],
                        token_count=min(p.token_count, ask.max_new_tokens),
                        truncated=p.token_count > ask.max_new_tokens,
                    )
                    for p in made
                ]
                self.at[ask.prompt] = start  # a draft is not one of the paths
            found.append(made)
        return found


@pytest.fixture
def scripted():
    return Scripted

"""Domains: a share of each, drawn from the seed, in the rows' own order."""

import pytest
from datasets import Dataset

from trl_r1.data.domains import read_shares, share_of_domains


ROWS = Dataset.from_list(
    [{"n": n, "domain": domain} for n, domain in enumerate(["sums"] * 4 + ["self", "writing"] * 4)]
)


def domains(rows):
    return [rows["domain"].count(name) for name in ("sums", "self", "writing")]


def test_named_domains_and_the_others_keep_their_share_in_order():
    kept = share_of_domains(ROWS, {"sums": 1.0, "self": 0.0, "other": 0.5}, 0, "rows")
    assert domains(kept) == [4, 0, 2]
    assert kept["n"] == sorted(kept["n"])
    assert domains(share_of_domains(ROWS, {"self": 0.25}, 0, "rows")) == [4, 1, 4]  # what nobody names is kept
    assert share_of_domains(ROWS, {}, 0, "rows") is ROWS


def test_a_domain_of_which_nothing_was_kept_is_no_mistake(caplog):
    assert domains(share_of_domains(ROWS, {"translation": 1.0, "other": 0.5}, 0, "rows")) == [2, 2, 2]
    assert "no row of rows is of that domain" in caplog.text


def test_the_seed_decides_which_rows():
    drawn = [share_of_domains(ROWS, {"other": 0.5}, seed, "rows")["n"] for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({tuple(rows) for rows in drawn}) > 1


@pytest.mark.parametrize(
    ("rows", "shares", "sentence"),
    [
        (ROWS, {"sms": 1.0}, "Did you mean 'sums'?"),
        (ROWS, {"other": 0.0}, "leaves none of the 12 rows"),
        (ROWS.remove_columns("domain"), {"sums": 1.0}, "has no column 'domain'"),
    ],
)
def test_shares_that_cannot_be_are_told(rows, shares, sentence):
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        share_of_domains(rows, shares, 0, "rows")


def test_a_share_is_a_number_from_0_to_1():
    assert read_shares("domain_shares", '{"sums": 1, "other": 0.25}') == {"sums": 1.0, "other": 0.25}
    assert read_shares("domain_shares", None) == {}
    for wrong in ({"sums": 1.5}, {"sums": "all"}, {"sums": True}):
        with pytest.raises(ValueError, match="a share is a number from 0"):
            read_shares("domain_shares", wrong)

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from univerce.genes.build.scaffolds import chromosome_tokens, pool_scaffolds


def genes(*rows: tuple[str, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["chromosome", "start"])


def test_the_smallest_scaffolds_are_put_end_to_end_in_one_group():
    rows = [("1", 5), ("s3", 40), ("s1", 7), ("1", 9), ("s2", 30), ("s1", 90), ("s3", 10), ("s3", 20)]
    out, n = pool_scaffolds(genes(*rows), 2)
    # s3 has three genes and stays; then 1 and s1 with two each, and s2: 1 is 0-9, s1 begins at 10, s2 at 101
    assert n == 3
    assert out["chromosome"].tolist() == ["unplaced", "s3", *["unplaced"] * 4, "s3", "s3"]
    assert out["start"].tolist() == [5, 40, 17, 9, 131, 100, 10, 20]
    assert out[["scaffold", "scaffold_start"]].to_numpy().tolist() == [list(row) for row in rows]


def test_pooled_genes_keep_the_order_within_their_scaffold_and_scaffolds_do_not_mix():
    rng = np.random.default_rng(0)
    frame = genes(*((f"s{c}", int(rng.integers(1, 10**8))) for c in rng.integers(0, 900, 3000)))
    out, n = pool_scaffolds(frame, 255)
    assert out["chromosome"].nunique() == 255
    assert n == frame["chromosome"].nunique() - 254
    pooled = out[out["chromosome"] == "unplaced"].sort_values(["start", "scaffold_start"])
    assert (pooled["scaffold"] != pooled["scaffold"].shift()).sum() == n
    for _, one in pooled.groupby("scaffold"):
        assert one["scaffold_start"].is_monotonic_increasing
    kept = out[out["chromosome"] != "unplaced"]
    assert (kept["start"] == kept["scaffold_start"]).all()
    assert kept["chromosome"].value_counts().min() >= pooled["scaffold"].value_counts().max()


def test_a_genome_with_room_for_all_is_left_as_it_is():
    frame = genes(("1", 5), ("2", 6))
    out, n = pool_scaffolds(frame, 2)
    assert out is frame
    assert n == 0


def test_a_limit_below_one_and_a_taken_name_are_refused():
    with pytest.raises(ValueError, match="max_chromosomes=0 must be an integer >= 1"):
        pool_scaffolds(genes(("1", 5)), 0)
    rows = [("unplaced", 1), ("unplaced", 2), ("a", 1), ("b", 1)]
    with pytest.raises(ValueError, match="the name of the pooled scaffolds, 'unplaced'"):
        pool_scaffolds(genes(*rows), 2)


def test_chromosome_tokens_are_those_that_the_reference_draws_from_the_taxonomy_id():
    state = torch.random.get_rng_state()
    drawn = chromosome_tokens(5, 7, 9031)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is unchanged"
    with torch.random.fork_rng():
        torch.manual_seed(9031)
        expected = torch.normal(mean=0, std=1, size=(5, 7)).numpy()
    np.testing.assert_array_equal(drawn, expected)
    assert not np.array_equal(drawn, chromosome_tokens(5, 7, 9606))

"""Data sets of several species as one source of training batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

from univerce.genes.table import N_SPECIAL, chromosome_index, gene_table_info
from univerce.inference.sentences import GenomeOrder, max_groups
from univerce.model.config import UCEConfig
from univerce.training.config import PretrainConfig
from univerce.training.masking import mask_cells
from univerce.training.survey import Survey, survey
from univerce.training.training_set import TrainingSet
from univerce.training.window import InMemory, Rows, Window


@dataclass(frozen=True)
class Plan:
    """The cells of a batch and the key of each one's random stream: a batch follows from its plan."""

    sets: np.ndarray
    """``[cells]`` data set of each cell, sorted."""
    cells: np.ndarray
    """``[cells]`` rows of their data sets."""
    keys: np.ndarray
    """``[cells]`` uint64."""

    def share(self, i: int, n: int) -> Plan:
        """The ``i``-th of ``n`` equal parts."""
        part = slice(i * len(self.cells) // n, (i + 1) * len(self.cells) // n)
        return Plan(self.sets[part], self.cells[part], self.keys[part])

    def by_set(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The data sets, each with the rows and keys of its cells."""
        sets, first = np.unique(self.sets, return_index=True)
        yield from zip(sets.tolist(), np.split(self.cells, first[1:]), np.split(self.keys, first[1:]), strict=True)


@dataclass(frozen=True)
class Batch:
    """Cells to train on, in tokens of the vocabulary."""

    sets: np.ndarray
    """``[cells]`` data set of each cell."""
    ids: np.ndarray
    """``[cells, length]`` int32 sentences of the genes that are not masked."""
    lengths: np.ndarray
    """``[cells]`` int32."""
    queries: np.ndarray
    """``[cells, n_queries]`` int32: masked expressed genes, then genes without a count."""
    offsets: np.ndarray
    """``[cells, n_queries]`` float32 log-odds of each query by the gene's frequency in its data set."""
    global_offsets: np.ndarray
    """The same by the gene's frequency in all data sets of the species."""


@dataclass(frozen=True)
class _Part:
    """A data set in the corpus."""

    counts: Any  # a csr_matrix when in memory
    survey: Survey
    var_rank: np.ndarray  # [n_vars] rank of each variable's gene, -1 for none
    order: GenomeOrder
    token: np.ndarray  # [n_genes] token of the vocabulary by rank


class Corpus:
    """Data sets of several species under one vocabulary, with the training and validation cells of each.

    Half of the cells of a data set that is held out as a whole measure the frequencies of its genes, the others
    validate. Cells with fewer than two expressed genes, or with a count in every measured gene, are left out: there is
    nothing to predict. ``model`` says how sentences are sampled.
    """

    def __init__(self, sets: Sequence[TrainingSet], model: UCEConfig, config: PretrainConfig) -> None:
        max_groups(model.n_sample, model.max_length)  # raises if sentences have no room
        self.model, self.config = model, config
        self.names = [s.name for s in sets]
        self.is_held_out = np.isin(self.names, config.held_out_sets)
        """``[n_sets]`` whether a data set is not trained on."""
        _check_names(self.names, config.held_out_sets)
        self.vocabulary = Vocabulary([s.table for s in sets])
        self._parts = [self._part(i, s) for i, s in enumerate(sets)]
        self.description = [
            {
                "name": s.name, "shape": [int(n) for n in p.counts.shape], "counts": p.survey.total,
                "genes": hashlib.sha256(np.ascontiguousarray(p.var_rank, dtype=np.int32).tobytes()).hexdigest(),
                "table": digest(s.table), "held_out": bool(held_out),
            }
            for s, p, held_out in zip(sets, self._parts, self.is_held_out, strict=True)
        ]  # fmt: skip
        """What identifies the data sets: names, shapes, sums of the counts, genes and gene tables."""
        frequency, known = self._frequency()
        self._offsets = [_log_odds(p.survey.smooth, p.survey.measured) for p in self._parts]
        self._global_offsets = [self._global_offset(p, frequency, known) for p in self._parts]
        self._probability = np.where(self.is_held_out, 0.0, np.maximum(self.sizes(), 1.0) ** config.temperature)
        self._probability /= self._probability.sum()
        self._rows = self._open_rows()

    def _part(self, i: int, s: TrainingSet) -> _Part:
        order, base = self.vocabulary.order[digest(s.table)], self.vocabulary.base[digest(s.table)]
        counts, var_rank = s.open(), order.var_rank(s.rows)
        found = survey(
            counts, var_rank, len(order.rank), rng=np.random.default_rng([self.config.seed, i]),
            held_out=max(self.config.held_out, 0.5) if self.is_held_out[i] else self.config.held_out,
            where=f"The data set {s.name!r}",
        )  # fmt: skip
        return _Part(counts, found, var_rank, order, order.gene_token + base)

    def _open_rows(self) -> list[Rows]:
        config = self.config
        on_disk = sum(not sparse.issparse(part.counts) for part in self._parts)
        if on_disk * config.block_rows > config.buffer_cells:
            raise ValueError(
                f"buffer_cells={config.buffer_cells} cannot hold a block of block_rows={config.block_rows} cells of "
                f"each of the {on_disk} data sets on disk; increase buffer_cells or decrease block_rows."
            )
        return [
            InMemory(part.counts, part.survey.training) if sparse.issparse(part.counts)
            else Window(
                part.counts, part.survey.training, block_rows=config.block_rows,
                cells_per_step=config.batch_size * p, n_blocks=max(1, int(config.buffer_cells * p / config.block_rows)),
                seed=[config.seed, k],
            )
            for k, (part, p) in enumerate(zip(self._parts, self._probability, strict=True))
        ]  # fmt: skip

    def sizes(self, *, validation: bool = False) -> np.ndarray:
        """Number of training or of validation cells of every data set."""
        if validation:
            return np.array([len(p.survey.validation) for p in self._parts])
        sizes = np.array([len(p.survey.training) for p in self._parts])
        return np.where(self.is_held_out, 0, sizes)

    def _frequency(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean frequency of each token over the training sets of its species, and whether one measures it."""
        total, seen = np.zeros(len(self.vocabulary.features)), np.zeros(len(self.vocabulary.features))
        for part, held_out in zip(self._parts, self.is_held_out, strict=True):
            if not held_out:
                token = part.token[part.survey.measured]
                total[token] += part.survey.frequency[part.survey.measured]
                seen[token] += 1
        return np.divide(total, seen, out=total, where=seen > 0), seen > 0

    def _global_offset(self, part: _Part, frequency: np.ndarray, known: np.ndarray) -> np.ndarray:
        half = 0.5 / self.sizes().sum()
        measured = part.survey.measured[known[part.token[part.survey.measured]]]
        offset = np.zeros(len(part.token), dtype=np.float32)
        offset[measured] = _log_odds(np.clip(frequency[part.token], half, 1 - half), measured)[measured]
        return offset

    def plan(self, n_cells: int, rng: np.random.Generator, *, step: int | None = None) -> Plan:
        """Choose training cells; without a step only from those of each set that are always in memory."""
        picked = np.sort(rng.choice(len(self._parts), size=n_cells, p=self._probability))
        cells = [rng.choice(self._rows[k].at(step), size=int((picked == k).sum())) for k in np.unique(picked)]
        return Plan(picked, np.concatenate(cells), rng.integers(2**64, size=len(picked), dtype=np.uint64))

    def draw(self, plan: Plan) -> Batch:
        """Mask, sample and query the cells of a plan."""
        config, found = self.config, []
        for k, cells, keys in plan.by_set():
            part = self._parts[k]
            masked = mask_cells(
                self._rows[k].take(cells), keys, part.var_rank, part.survey.measured, part.order, self.model,
                n_queries=config.n_queries, mask_fraction=config.mask_fraction,
            )  # fmt: skip
            base = part.token[0] - part.order.gene_token[0]
            is_token = np.arange(masked.ids.shape[1]) < masked.lengths[:, None]
            found.append(
                (
                    np.where(is_token, masked.ids + base, 0), masked.lengths, part.token[masked.queries],
                    self._offsets[k][masked.queries], self._global_offsets[k][masked.queries],
                )
            )  # fmt: skip
        sentences, *arrays = zip(*found, strict=True)
        lengths, queries, offsets, global_offsets = map(np.concatenate, arrays)
        width = lengths.max()
        ids = np.concatenate([np.pad(x[:, :width], ((0, 0), (0, max(0, width - x.shape[1])))) for x in sentences])
        return Batch(plan.sets, ids, lengths, queries, offsets, global_offsets)

    def validation(self, part: int, rng: np.random.Generator, *, n_cells: int) -> Batch:
        """Held-out cells of one data set."""
        cells = rng.permutation(self._parts[part].survey.validation)[:n_cells]
        keys = rng.integers(2**64, size=len(cells), dtype=np.uint64)
        return self.draw(Plan(np.full(len(cells), part), cells, keys))


def _check_names(names: Sequence[str], held_out: Sequence[str]) -> None:
    if not names:
        raise ValueError("sets is empty; pass at least one data set.")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Several data sets are named {', '.join(repeated)}; give each a unique name.")
    if unknown := [name for name in held_out if name not in names]:
        raise ValueError(f"held_out_sets names {', '.join(unknown)}, but the data sets are {', '.join(names)}.")
    if set(names) <= set(held_out):
        raise ValueError("All data sets are held out; leave at least one to train on.")


def _log_odds(p: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Log-odds of each gene against the mean measured gene, float32."""
    mean = p[measured].mean() if len(measured) else 0.5
    return (np.log(p / (1 - p)) - np.log(mean / (1 - mean))).astype(np.float32)


class Vocabulary:
    """The tokens of several gene tables; each brings its special tokens, genes and chromosomes, copies only once."""

    def __init__(self, tables: Sequence[ad.AnnData]) -> None:
        unique: dict[str, ad.AnnData] = {}
        for table in tables:
            unique.setdefault(digest(table), table)
        sizes = [N_SPECIAL + t.n_obs + len(t.uns["chromosome_codes"]) for t in unique.values()]
        bases = np.cumsum([0, *sizes]).tolist()
        self.base = dict(zip(unique, bases, strict=False))
        """First token of each table, by digest."""
        self.order = {d: GenomeOrder.build(chromosome_index(t), t.obs["start"].to_numpy()) for d, t in unique.items()}
        """Genome order of each table, by digest."""
        self.features = np.concatenate([_features(t) for t in unique.values()])
        """``[n_tokens, token_dim]``."""


def digest(table: ad.AnnData) -> str:
    """Digest of a gene table."""
    return str(gene_table_info(table)["digest"])


def _features(table: ad.AnnData) -> np.ndarray:
    parts = (table.uns["special_features"], table.X[:], table.uns["chromosome_features"])
    return np.concatenate([np.asarray(p, dtype=np.float32) for p in parts])

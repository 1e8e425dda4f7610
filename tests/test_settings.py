"""Settings: values that are refused, and how much is said."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

import univerce as uc
from univerce.cli import main

logger = logging.getLogger("univerce.some.module")


def _in_a_plain_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest listens at the root while a test runs; a program without logging does not."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.mark.parametrize(
    "verbosity, shown",
    [("error", ["E"]), ("warning", ["W", "E"]), ("info", ["I", "W", "E"]), ("debug", ["D", "I", "W", "E"])],
)
def test_each_verbosity_shows_its_messages_and_those_that_are_graver_once(verbosity, shown, capsys, monkeypatch):
    _in_a_plain_program(monkeypatch)
    with uc.settings.override(verbosity=verbosity):
        for level, letter in zip((10, 20, 30, 40), "DIWE", strict=True):
            logger.log(level, letter)
    assert capsys.readouterr().err.split() == shown


def test_after_the_block_it_is_as_quiet_as_before(capsys, monkeypatch):
    _in_a_plain_program(monkeypatch)
    with uc.settings.override(verbosity="info"):
        pass
    logger.info("hidden")
    assert capsys.readouterr().err == ""
    assert logging.getLogger("univerce").handlers == []


def test_a_program_with_logging_of_its_own_gets_the_messages_and_stderr_does_not(capsys, monkeypatch):
    records: list[logging.LogRecord] = []
    own = logging.Handler()
    monkeypatch.setattr(own, "emit", records.append)
    monkeypatch.setattr(logging.getLogger(), "handlers", [own])
    with uc.settings.override(verbosity="info"):
        logger.info("heard")
    assert [record.getMessage() for record in records] == ["heard"]
    assert capsys.readouterr().err == ""


def test_the_import_sets_up_no_logging():
    code = (
        "import logging, univerce; print(logging.getLogger('univerce').handlers, logging.getLogger('univerce').level)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["[]", "0"]


def test_the_environment_sets_verbosity_and_batch_size():
    code = "import univerce; print(univerce.settings.verbosity, univerce.settings.batch_size + 1)"
    environment = os.environ | {"UNIVERCE_VERBOSITY": "debug", "UNIVERCE_BATCH_SIZE": "16"}
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert run.stdout.split() == ["debug", "17"]


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("verbosity", "loud", "verbosity='loud' is not known; use one of error, warning, info, debug"),
        ("precision", "half", "precision='half'.*float32, bfloat16"),
        ("device", "tpu", "device='tpu'.*cpu, cuda, mps"),
        ("batch_size", 0, "batch_size=0 must be 'auto' or an integer >= 1"),
        ("batch_size", 2.5, r"batch_size=2\.5 must be"),
        ("batch_size", True, "batch_size=True must be"),
    ],
)
def test_an_unknown_value_is_refused(name, value, message):
    before = getattr(uc.settings, name)
    with pytest.raises(ValueError, match=message):
        setattr(uc.settings, name, value)
    assert getattr(uc.settings, name) == before


def test_a_verbose_command_tells_of_the_coverage_of_the_genes(capsys, monkeypatch, tmp_path):
    _in_a_plain_program(monkeypatch)
    uc.datasets.pbmc68k_reduced()[:3].copy().write_h5ad(tmp_path / "in.h5ad")
    assert main(["embed", str(tmp_path / "in.h5ad"), "-o", str(tmp_path / "out.h5ad"), "-q", "-v"]) == 0
    assert "names mapped   690 of 765" in capsys.readouterr().err
    assert uc.settings.verbosity == "warning"


def test_what_is_large_introduces_itself_in_a_line():
    adata = uc.datasets.pbmc68k_reduced()
    adata.obsm["X_toy"] = adata.obs[["percent_mito", "S_score", "G2M_score"]].to_numpy()
    classifier = uc.tl.LabelClassifier.fit(adata, labels="cell_type", use_rep="X_toy")
    cells = uc.pp.training_set(adata, name="blood", species="human")
    mapping = uc.genes.map_names(["CD3E", "cd3e", "nothing"], cells.table)
    for one in (classifier, cells, mapping, uc.model.find_model()):
        assert "\n" not in repr(one)
        assert len(repr(one)) < 300
    assert repr(cells) == "TrainingSet 'blood': 700 cells of human, 690 of 765 variables are genes"
    assert "10 labels of 'cell_type' by logistic on obsm['X_toy']" in repr(classifier)
    expected = "2 of 3 names are genes (1 by symbol, 1 by symbol_case), 0 ambiguous, 1 genes under several names"
    assert repr(mapping) == f"NameMapping: {expected}"
    assert "Model 'uce-mini'" in repr(uc.model.find_model())

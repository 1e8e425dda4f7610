"""Settings: values, environment variables, verbosity, and the repr of objects."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import univerce as uc
from univerce._settings import Settings
from univerce.cli import main
from univerce.io.pipeline import ahead, behind

logger = logging.getLogger("univerce")


def _in_a_plain_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the root handlers of pytest: a program without logging has none."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


def test_each_verbosity_shows_its_messages_once_and_the_block_restores_it(capsys, monkeypatch):
    _in_a_plain_program(monkeypatch)
    for verbosity, shown in {"error": "E", "warning": "WE", "info": "IWE", "hint": "HIWE", "debug": "DHIWE"}.items():
        with uc.settings.override(verbosity=verbosity):
            for level, letter in zip((10, 15, 20, 30, 40), "DHIWE", strict=True):
                logger.log(level, letter)
        assert capsys.readouterr().err.split() == list(shown)
        logger.info("hidden")
        assert capsys.readouterr().err == ""
    assert logging.getLogger("univerce").handlers == []


def test_a_program_with_its_own_logging_gets_the_messages_and_stderr_does_not(capsys, monkeypatch):
    records: list[logging.LogRecord] = []
    own = logging.Handler()
    monkeypatch.setattr(own, "emit", records.append)
    monkeypatch.setattr(logging.getLogger(), "handlers", [own])
    with uc.settings.override(verbosity="info"):
        logger.info("heard")
    assert [record.getMessage() for record in records] == ["heard"]
    assert capsys.readouterr().err == ""


def test_a_block_holds_in_its_own_thread_and_nothing_of_it_stays(capsys, monkeypatch):
    _in_a_plain_program(monkeypatch)
    inside, wrong = threading.Barrier(4, timeout=20), []

    def use(k: int) -> None:
        verbosity = ("error", "info", "warning", "info")[k]
        for _ in range(50):
            with uc.settings.override(batch_size=k + 1, offline=True, verbosity=verbosity):
                inside.wait()
                uc.settings.offline = False  # until the block ends
                seen = uc.settings.batch_size, uc.settings.offline, uc.settings.verbosity
                wrong.extend([seen] if seen != (k + 1, False, verbosity) else [])
                logger.info(f"{k}")
                logger.warning(f"W{k}")
                inside.wait()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(4)))
    assert wrong == []
    said = Counter(capsys.readouterr().err.split())
    assert said == {"1": 50, "3": 50, "W1": 50, "W2": 50, "W3": 50}
    assert (uc.settings.batch_size, uc.settings.offline, uc.settings.verbosity) == ("auto", False, "warning")
    logger.info("hidden")
    assert capsys.readouterr().err == ""
    assert logger.handlers == []


def test_a_block_holds_in_the_tasks_and_pipelines_that_it_starts_and_not_in_others():
    def seen(_: object = None) -> int | str:
        return uc.settings.batch_size

    async def use(k: int) -> int | str:
        with uc.settings.override(batch_size=k):
            await asyncio.sleep(0)
            task = asyncio.create_task(asyncio.to_thread(seen))
            await asyncio.sleep(0)
            return await task

    async def both() -> list[int | str]:
        return await asyncio.gather(use(1), use(2))

    assert asyncio.run(both()) == [1, 2]
    with uc.settings.override(batch_size=3), ThreadPoolExecutor(1) as pool:
        assert pool.submit(seen).result() == "auto"
        assert list(ahead(seen() for _ in range(2))) == [3, 3]
        written: list[int | str] = []
        assert list(behind([1, 2], lambda _: written.append(seen()))) == [1, 2]
        assert written == [3, 3]
        assert pickle.loads(pickle.dumps(uc.settings)) is uc.settings


def test_environment_variables_set_the_defaults(monkeypatch, tmp_path):
    for name, value in {"VERBOSITY": "debug", "BATCH_SIZE": "16", "PROGRESS": "off", "CACHE": str(tmp_path)}.items():
        monkeypatch.setenv(f"UNIVERCE_{name}", value)
    fresh = Settings()
    assert (fresh.verbosity, fresh.batch_size, fresh.progress, fresh.cache_dir) == ("debug", 16, False, tmp_path)
    monkeypatch.setenv("UNIVERCE_OFFLINE", "perhaps")
    with pytest.raises(ValueError, match="UNIVERCE_OFFLINE is 'perhaps'; set it to 1 or 0"):
        Settings()


def test_the_levels_of_scanpy_are_numbers_too(monkeypatch):
    import scanpy as sc

    for number, name in enumerate(("error", "warning", "info", "hint", "debug")):
        uc.settings.verbosity = number
        sc.settings.verbosity = number
        assert uc.settings.verbosity == name == sc.settings.verbosity.name
    monkeypatch.setenv("UNIVERCE_VERBOSITY", "3")
    assert Settings().verbosity == "hint"


def test_an_unknown_value_is_an_error():
    for name, value, message in (
        ("verbosity", "loud", "verbosity='loud' is not known; use one of error, warning, info, hint, debug"),
        ("precision", "half", "precision='half'.*float32, bfloat16"),
        ("device", "tpu", "device='tpu'.*cpu, cuda, mps"),
        ("offline", "0", "offline='0' is not known; use one of True, False"),
        ("batch_size", 0, "batch_size=0 must be 'auto' or an integer >= 1"),
        ("batch_size", 2.5, r"batch_size=2\.5 must be"),
        ("batch_size", True, "batch_size=True must be"),
    ):
        before = getattr(uc.settings, name)
        with pytest.raises(ValueError, match=message):
            setattr(uc.settings, name, value)
        assert getattr(uc.settings, name) == before


def test_a_verbose_command_reports_the_coverage_of_the_genes(capsys, monkeypatch, tmp_path):
    _in_a_plain_program(monkeypatch)
    uc.datasets.pbmc68k_reduced()[:3].copy().write_h5ad(tmp_path / "in.h5ad")
    assert main(["embed", str(tmp_path / "in.h5ad"), "-o", str(tmp_path / "out.h5ad"), "-q", "-v"]) == 0
    assert "names mapped   740 of 765" in capsys.readouterr().err
    assert uc.settings.verbosity == "warning"


def test_large_objects_have_a_repr_of_one_line():
    adata = uc.datasets.pbmc68k_reduced()
    adata.obsm["X_toy"] = adata.obs[["percent_mito", "S_score", "G2M_score"]].to_numpy()
    classifier = uc.tl.LabelClassifier.fit(adata, groupby="cell_type", use_rep="X_toy")
    cells = uc.pp.training_set(adata, name="blood", species="human")
    mapping = uc.genes.map_names(["CD3E", "cd3e", "nothing"], cells.table)
    for one in (classifier, cells, mapping, uc.model.find_model()):
        assert "\n" not in repr(one)
        assert len(repr(one)) < 300
    assert repr(cells) == "TrainingSet 'blood': 700 cells of human, 740 of 765 variables are genes"
    assert "9 labels of 'cell_type' by logistic on obsm['X_toy']" in repr(classifier)
    expected = "2 of 3 names are genes (1 by symbol, 1 by symbol_case), 0 ambiguous, 1 genes under several names"
    assert repr(mapping) == f"NameMapping: {expected}"
    assert "Model 'uce-mini'" in repr(uc.model.find_model())


def test_all_messages_go_through_the_logger_whose_filter_knows_the_blocks():
    """A filter of a logger does not see the messages of its children."""
    package = Path(uc.__file__).parent
    assert [path.name for path in package.rglob("*.py") if "getLogger(__name__)" in path.read_text()] == []

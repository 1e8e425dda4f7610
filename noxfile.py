"""Checks of a change: ``python -m nox`` runs the default sessions, ``python -m nox -l`` lists all of them."""

from __future__ import annotations

import re
import shutil
import time
import zipfile
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.2.9"
# pip, not uv: uv ignores PIP_FIND_LINKS and similar variables that select the torch build.
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "lint", "types", "docs"]
nox.options.error_on_missing_interpreters = True

CONSTRAINTS = "constraints.txt"
PYPROJECT = nox.project.load_toml("pyproject.toml")
MAX_DATA = 13 * 2**20  # bytes of model and gene tables inside the wheel
MIN_COVERAGE = 92  # percent of lines


def install(session: nox.Session, *what: str, groups: tuple[str, ...] = (), pins: str = CONSTRAINTS) -> None:
    """Install requirements and dependency groups; by name rather than ``--group``, which needs pip 25.1."""
    session.install("-c", pins, *what, *nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session
def tests(session: nox.Session) -> None:
    """Unit tests, contract tests and docstring examples, on all cores, with line coverage."""
    install(session, "-e", ".[all]", groups=("test",))
    parallel = ["-n", "auto", "--dist", "worksteal"]
    coverage = ["--cov", "--cov-report=term:skip-covered", f"--cov-fail-under={MIN_COVERAGE}"]
    env = {"OMP_NUM_THREADS": "1"}  # one thread per worker
    session.run("pytest", *parallel, "--durations=10", *(session.posargs or coverage), env=env)


@nox.session
def minimums(session: nox.Session) -> None:
    """The tests with the lowest allowed version of each direct dependency."""
    pins = Path(session.create_tmp()) / "minimums.txt"
    pins.write_text("\n".join(_minimums()) + "\n")
    install(session, "-e", ".[all,census]", groups=("test",), pins=str(pins))
    session.run("pip", "list")
    # Warnings are not errors here: old releases warn about newer packages.
    session.run("pytest", "-n", "auto", "-W", "default", *session.posargs)


@nox.session(python="3.13")
def newest(session: nox.Session) -> None:
    """The tests on a Python that takes the newest anndata and pandas."""
    install(session, "--upgrade", "-e", ".[all]", groups=("test",))
    session.run("pip", "list")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def prereleases(session: nox.Session) -> None:
    """The tests with the newest version of each dependency, pre-releases included."""
    pins = Path(session.create_tmp()) / "torch.txt"
    pins.write_text("\n".join(_torch()) + "\n")
    install(session, "--pre", "--upgrade", "-e", ".[all]", groups=("test",), pins=str(pins))
    session.run("pip", "list")
    session.run("pytest", "-n", "auto", "-W", "default", *session.posargs)


def _torch() -> list[str]:
    return [line for line in Path(CONSTRAINTS).read_text().splitlines() if line.startswith("torch==")]


def _minimums() -> list[str]:
    """Pin each direct dependency to its lower bound, and torch to the pinned build."""
    pins = _torch()
    for requirement in map(Requirement, PYPROJECT["project"]["dependencies"]):
        lower = [s.version for s in requirement.specifier if s.operator == ">="]
        if requirement.name != "torch":
            pins.append(f"{requirement.name}=={lower[0]}")
    return pins


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format and import contracts."""
    install(session, "ruff", "import-linter")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": "src"})


@nox.session
def types(session: nox.Session) -> None:
    """Static types of the package."""
    install(session, "-e", ".", groups=("types",))
    session.run("mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation in docs/_build/html, warnings as errors, and check its links."""
    install(session, "-e", ".[de,ontology]", groups=("docs",))
    shutil.rmtree("docs/generated", ignore_errors=True)  # pages of removed names
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html", *session.posargs)
    session.run("python", "docs/_links.py", "docs/_build/html")


@nox.session
def tutorials(session: nox.Session) -> None:
    """Execute the notebooks of tutorials/, or those named after ``--``; ``-- --inplace`` stores the outputs."""
    named = [argument for argument in session.posargs if argument.endswith(".ipynb")]
    execute(session, *session.posargs, *([] if named else sorted(map(str, Path("tutorials").glob("*.ipynb")))))


def execute(session: nox.Session, *notebooks: str) -> None:
    """Execute notebooks."""
    install(session, "-e", ".[bench,dask,train]", "ipykernel", "ipywidgets", "nbclient")
    session.run("jupyter", "execute", *notebooks)


def first_tutorials(session: nox.Session) -> None:
    """Execute the notebooks that a new user reads."""
    execute(session, *sorted(map(str, Path("tutorials").glob("[1-3]-*.ipynb"))))


@nox.session
def ci(session: nox.Session) -> None:
    """The default sessions and the first tutorials, in one environment."""
    for check in (tests, lint, types, docs, first_tutorials):
        began = time.monotonic()
        check(session)
        session.log(f"{check.__name__} took {time.monotonic() - began:.0f} s")


@nox.session
def demo(session: nox.Session) -> None:
    """Embed the bundled cells with the bundled model and plot them to univerce-demo/umap.png."""
    install(session, "-e", ".")
    session.run("univerce", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The tables of docs/benchmark.md from real data: ``nox -s bench -- --data DIR``; the report is in bench-report."""
    install(session, "-e", ".[bench]")
    where = ("--report", "bench-report", "--tables", "docs/benchmark/tables.md")
    session.run("python", "-m", "benchmarks.campaign", "docs/benchmark/real.toml", *where, *session.posargs)


@nox.session
def quality(session: nox.Session) -> None:
    """The tables of the model card from real data: ``nox -s quality -- --data DIR``; ``quality/`` keeps all scores."""
    install(session, "-e", ".[bench]", groups=("test",))
    where = ("out=quality", "--docs", "docs/measured")
    session.run("python", "-m", "benchmarks", "quality", "resamples=2", *where, *session.posargs)


@nox.session
def perf(session: nox.Session) -> None:
    """Measure speed and memory, or what is named (``nox -s perf -- NAME ...``); write the tables of docs/measured."""
    install(session, "-e", ".[all]", groups=("test",))
    session.run("python", "-m", "benchmarks", "--docs", "docs/measured", *session.posargs)
    session.run("python", "-m", "benchmarks.sizing", "docs/measured")


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel and check the content of the wheel."""
    install(session, "build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    (wheel,) = Path("dist").glob("*.whl")
    session.log(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB")
    problems = _wheel_problems(wheel)
    if problems:
        session.error("; ".join(problems))


def _wheel_problems(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    packaged = {path.relative_to("src").as_posix() for path in Path("src/univerce").rglob("*.py")}
    problems = [f"{name} is missing" for name in sorted((packaged | {"univerce/py.typed"}) - set(sizes))]
    foreign = [name for name in sizes if not re.match(r"univerce(-[^/]+\.dist-info)?/", name)]
    problems += [f"{name} does not belong in the wheel" for name in foreign]
    if not any(name.endswith("/LICENSE") for name in sizes):
        problems.append("LICENSE is missing")
    data = {name: size for name, size in sizes.items() if name.startswith("univerce/") and not name.endswith(".py")}
    if sum(data.values()) > MAX_DATA:
        problems.append(f"the data take {sum(data.values()) / 2**20:.1f} MiB, more than {MAX_DATA / 2**20:.0f} MiB")
    return problems

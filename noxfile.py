"""Tasks for developers: `nox` runs all, `nox -s tests` one. `.ci/run` does the same without nox."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True


def install(session: nox.Session, extras: str) -> None:
    """Install cxrkit with extras, under the constraints that CI tests with."""
    session.install("-c", "constraints.txt", "-e", f".[{extras}]")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests with coverage."""
    install(session, "test")
    environment = {"OMP_NUM_THREADS": "1"}
    session.run("pytest", "-n", "auto", "--cov", "--cov-fail-under=90", *session.posargs, env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and import layers."""
    install(session, "dev")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Generate the reference pages anew and build the site."""
    install(session, "dev")
    session.run("python", "docs/generate.py")
    session.run("mkdocs", "build", "--strict")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel and look inside."""
    install(session, "dev")
    session.run("python", "-m", "build", "--wheel", "--outdir", "dist")
    session.run("python", "docs/check_wheel.py", *map(str, session.posargs or ["dist"]))

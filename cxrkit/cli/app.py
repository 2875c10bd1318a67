"""The Typer application and its entry point: verbs, global options, and what becomes of errors."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cxrkit.cli import ablate, bench, components, console, data, doctor, evaluate, export, plugins, predict, train
from cxrkit.cli.helping import unwrap
from cxrkit.cli.warned import readable_warnings
from cxrkit.errors import CxrkitError, StorageError

_DEBUG = "--debug"
_DEBUG_KEY = "cxrkit.debug"
_BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell has it


class Cli(TyperGroup):
    """A command group that tells users' errors without a traceback and exits with their code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--debug` from wherever it stands, since it is an afterthought."""
        before, separator, after = _cut(args)
        asked = os.environ.get("CXRKIT_DEBUG", "") not in ("", "0")
        ctx.meta[_DEBUG_KEY] = asked or _DEBUG in before
        return super().parse_args(ctx, [item for item in before if item != _DEBUG] + separator + after)

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; see `cxrkit.errors` for the exit codes."""
        try:
            with nullcontext() if ctx.meta[_DEBUG_KEY] else readable_warnings():
                result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            _abandon_stdout()
            raise typer.Exit(_BROKEN_PIPE) from None
        except KeyboardInterrupt:
            console.say("Stopped. The same line begins it again.")
            raise typer.Exit(130) from None
        except Exception as error:
            # Typer tells its own: usage errors, and requests to exit.
            if type(error).__module__.partition(".")[0] in ("typer", "click"):
                raise
            if ctx.meta[_DEBUG_KEY]:
                import traceback

                sys.stderr.write(traceback.format_exc())
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                # Files tell of their disk themselves; this is what the results are written to.
                _abandon_stdout()
                error = StorageError("The results can't be written: the disk is full.", "Free some space.")
            if isinstance(error, CxrkitError):
                console.print_error(error)
                raise typer.Exit(error.exit_code) from error
            console.print_defect(error)
            raise typer.Exit(1) from error


app = typer.Typer(
    name="cxrkit",
    cls=Cli,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: cxrkit predict FILM.png (no training needed), or cxrkit train (no data needed)",
)


def _version(wanted: bool) -> None:
    if wanted:
        from cxrkit import __version__

        console.show(f"cxrkit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, help="Show tracebacks and all warnings; may stand anywhere. Also: CXRKIT_DEBUG=1.")
    ] = False,
) -> None:
    """Segmentation of lungs and heart in chest radiographs; every part is a plugin."""


app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command()(ablate.ablate)
app.command()(ablate.report)
app.command()(bench.bench)
app.command()(export.export)
app.add_typer(data.app, name="data")
app.command("list")(components.list_components)
app.command("show")(components.show_component)
app.add_typer(plugins.app, name="plugins")
app.command()(doctor.doctor)
unwrap(app)


def main() -> None:
    """The entry point of the command `cxrkit`."""
    _mend_streams()
    # As Ctrl-C, so that half-written files are removed and a training saves its state.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app(prog_name="cxrkit")


def _mend_streams() -> None:
    """Let no standard stream be missing (a shell's `>&-`) or fail at a letter that the terminal's encoding lacks."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _cut(args: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The arguments before `--`, that itself, and those after it, which are no options."""
    if "--" not in args:
        return args, [], []
    place = args.index("--")
    return args[:place], ["--"], args[place + 1 :]


def _abandon_stdout() -> None:
    """Let what is still buffered go nowhere, lest the interpreter complain of the closed pipe when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout isn't a real file
        return

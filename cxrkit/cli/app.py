"""The Typer application and its entry point: global options, and how errors are reported."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import nullcontext, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cxrkit.cli import console
from cxrkit.cli.verbs import LazyCommand, built_in_verbs, other_verbs
from cxrkit.cli.warnings import readable_warnings
from cxrkit.errors import (
    AnotherEndedError,
    ConfigError,
    CxrkitError,
    StorageError,
    TrainingInterruptedError,
    shortened,
)
from cxrkit.files import is_utf8, storage_error
from cxrkit.processes import claims_last_word, is_first_process

_DEBUG = "--debug"
_DEBUG_KEY = "cxrkit.debug"
_JSON_KEY = "cxrkit.json"
_BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell has it


class Cli(TyperGroup):
    """The verbs, each imported when it is called; errors are reported without a traceback and exit with their code."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.commands.update((name, LazyCommand(verb)) for name, verb in built_in_verbs().items())
        self._has_others = False

    def list_commands(self, ctx: Any) -> list[str]:
        """The built-in verbs, then those of other packages."""
        self._find_others()
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb of that name; other packages' metadata are read only if it isn't built in."""
        if cmd_name not in self.commands:
            self._find_others()
        return self.commands.get(cmd_name)

    def _find_others(self) -> None:
        if not self._has_others:
            self._has_others = True
            self.commands.update((verb.name, LazyCommand(verb)) for verb in other_verbs()[0])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--debug` from anywhere in the line, since one often adds it at the end."""
        for text in (*args, _working_folder()):
            if not is_utf8(text):
                console.print_error(ConfigError(f"{text!a}: this name is not UTF-8.", "Rename the file or folder."))
                raise typer.Exit(ConfigError.exit_code)
        console.json_shown = False
        before, separator, after = _cut(args)
        asked = os.environ.get("CXRKIT_DEBUG", "") not in ("", "0")
        ctx.meta[_DEBUG_KEY] = asked or _DEBUG in before
        ctx.meta[_JSON_KEY] = "--json" in before
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
            if is_first_process() and claims_last_word():
                console.say("Stopped. Run the same command to start again.")
                _show_json(ctx, "Interrupted", "Stopped.", "Run the same command to start again.", 130)
            raise typer.Exit(130) from None
        except Exception as error:
            # Typer reports its own: usage errors, and requests to exit.
            if type(error).__module__.partition(".")[0] in ("typer", "click"):
                if isinstance(text := getattr(error, "message", None), str):
                    error.message = shortened(console.printable(text), 1000)  # type: ignore[attr-defined]
                if hasattr(error, "format_message"):
                    if not claims_last_word():
                        raise typer.Exit(2) from error
                    _show_json(ctx, "UsageError", error.format_message(), f"See {ctx.info_name} --help.", 2)
                raise
            if ctx.meta[_DEBUG_KEY]:
                import traceback

                sys.stderr.write(traceback.format_exc())
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                # Files report their own disk; this one is where stdout goes.
                _abandon_stdout()
                error = StorageError("The results can't be written: the disk is full.", "Free some space.")
            elif isinstance(error, OSError) and error.filename is not None and error.errno != errno.ENOENT:
                error = storage_error(os.fsdecode(error.filename), error)  # a name that is too long, say
            says = _is_for_this_process_to_say(error)
            if isinstance(error, CxrkitError):
                if says:
                    console.print_error(error)
                    _show_json(ctx, type(error).__name__, error.what, error.remedy, error.exit_code)
                raise typer.Exit(error.exit_code) from error
            if says:
                console.print_defect(error)
                _show_json(ctx, type(error).__name__, str(error), "Run it with --debug, and report it.", 1)
            raise typer.Exit(1) from error


app = typer.Typer(
    name="cxrkit",
    cls=Cli,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Get started: cxrkit predict FILM.png (no training needed), or cxrkit train (no data needed)",
)


def _is_for_this_process_to_say(error: Exception) -> bool:
    """Of several processes of a training that end, one gives the reason."""
    if isinstance(error, TrainingInterruptedError) and not is_first_process():
        return False
    return claims_last_word(of_another=isinstance(error, AnotherEndedError))


def _version(wanted: bool) -> None:
    if wanted:
        from cxrkit.version import __version__

        console.show(f"cxrkit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(_DEBUG, help="Show tracebacks and all warnings; can be given anywhere. Also: CXRKIT_DEBUG=1."),
    ] = False,
) -> None:
    """Segmentation of lungs and heart in chest radiographs; every part is a plugin."""


def main() -> None:
    """The entry point of the command `cxrkit`."""
    _repair_streams()
    # As Ctrl-C, so that half-written files are removed and a training saves its state.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app(prog_name="cxrkit")


def _repair_streams() -> None:
    """Replace missing standard streams (a shell's `>&-`), and let none fail at a character its encoding lacks."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _working_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed; what needs it says so
        return ""


def _cut(args: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The arguments before `--`, the `--` itself, and those after it, which aren't options."""
    if "--" not in args:
        return args, [], []
    place = args.index("--")
    return args[:place], ["--"], args[place + 1 :]


def _show_json(ctx: Any, kind: str, what: str, remedy: str, exit_code: int) -> None:
    """Where `--json` was given, print an error to stdout too, as a JSON object in place of the result."""
    if ctx.meta[_JSON_KEY] and not console.json_shown:
        with suppress(OSError):
            console.show_json({"error": {"kind": kind, "what": what, "remedy": remedy, "exit_code": exit_code}})
            sys.stdout.flush()


def _abandon_stdout() -> None:
    """Discard what is still buffered, or the interpreter would complain about the closed pipe when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout isn't a real file
        return

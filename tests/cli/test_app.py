from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from cxrkit import __version__, api, inference
from cxrkit.cli import console
from cxrkit.cli.app import app
from cxrkit.cli.console import show_json
from cxrkit.errors import ConfigError, DataError, StorageError, TrainingError, TrainingInterruptedError

VERBS = [
    (),
    ("train",),
    ("evaluate",),
    ("predict",),
    ("bench",),
    ("data",),
    ("data", "prepare"),
    ("data", "check"),
    ("data", "list"),
    ("list",),
    ("show",),
    ("plugins",),
    ("plugins", "list"),
    ("plugins", "new"),
    ("plugins", "check"),
    ("doctor",),
]


def python(*arguments: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False, **more
    )


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(api, "train", fail)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself(cxrkit, verb) -> None:
    for flag in ("--help", "-h"):
        outcome = cxrkit(*verb, flag)
        assert outcome.code == 0
        assert "Usage: cxrkit" in outcome.out


def test_the_version_is_the_packages(cxrkit) -> None:
    assert cxrkit("--version").out == f"cxrkit {__version__}\n"


def test_help_imports_neither_torch_nor_pydantic_nor_plugins() -> None:
    script = (
        "import sys\nfrom cxrkit.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'pydantic', 'numpy', 'cxrkit_plugins', 'pluggy', 'matplotlib'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    assert python("-c", script).stdout.endswith("heavy: []\n")


def test_python_m_cxrkit_is_the_command_line() -> None:
    assert python("-m", "cxrkit", "--version").stdout == f"cxrkit {__version__}\n"


def test_an_unknown_verb_or_option_is_a_usage_error(cxrkit) -> None:
    for arguments in (["trian"], ["train", "--modle", "unet"], ["train", "--precision", "8"], ["evaluate"]):
        assert cxrkit(*arguments).code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a", "b"), 2),
        (DataError("a", "b"), 3),
        (TrainingError("a", "b"), 5),
        (StorageError("a", "b"), 6),
    ],
)
def test_errors_have_exit_codes_and_go_to_stderr(cxrkit, monkeypatch, error, code) -> None:
    failing(monkeypatch, error)
    outcome = cxrkit("train", "--quiet")
    assert outcome.code == code
    assert outcome.err == "Error: a\nb\n"
    assert outcome.out == ""


def test_messages_come_out_as_they_are_however_long_and_bracketed(cxrkit, monkeypatch) -> None:
    path = "/data/[bold]films[/bold]/" + "very-long-name-" * 20 + ":smile:.png"
    failing(monkeypatch, DataError(f"{path}: can't be read.", f"Look at {path} [here]."))
    assert cxrkit("train", "--quiet").err == f"Error: {path}: can't be read.\nLook at {path} [here].\n"


def test_a_defect_is_reported_in_a_line_and_traced_on_demand(cxrkit, monkeypatch) -> None:
    failing(monkeypatch, ZeroDivisionError("division\nby [zero]"))
    outcome = cxrkit("train", "--quiet")
    assert outcome.code == 1
    assert "defect of cxrkit or a plugin: ZeroDivisionError: division by [zero]" in outcome.err
    assert "--debug" in outcome.err
    assert "Traceback" not in outcome.err
    for arguments in (("--debug", "train", "--quiet"), ("train", "--quiet", "--debug")):
        assert "Traceback (most recent call last)" in cxrkit(*arguments).err
    monkeypatch.setenv("CXRKIT_DEBUG", "1")
    assert "Traceback" in cxrkit("train", "--quiet").err


def test_debug_behind_two_hyphens_is_a_films_name(cxrkit, tmp_path, monkeypatch) -> None:
    asked: list[list[Path]] = []

    def predict(films, *arguments, **more):
        asked.append(films)
        raise DataError("stop")

    monkeypatch.setattr(inference, "predict", predict)
    outcome = cxrkit("predict", "--weights", tmp_path, "--", "--debug")
    assert asked == [[Path("--debug")]]
    assert "Traceback" not in outcome.err


def test_interrupting_exits_with_130(cxrkit, monkeypatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    outcome = cxrkit("train", "--quiet")
    assert outcome.code == 130
    assert "Stopped." in outcome.err


def test_a_closed_pipe_is_no_fault() -> None:
    command = f"{sys.executable} -m cxrkit show model unet | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""


def test_a_broken_plugin_is_reported_once_and_the_rest_works(cxrkit, monkeypatch) -> None:
    from cxrkit import plugins

    broken = plugins.PluginStatus(
        "faulty", "cxrkit-faulty", "0.3", error="ImportError: no [such] thing", details="trace"
    )
    loaded = plugins.load_plugins()
    loaded.statuses.append(broken)
    loaded.registry.broken["faulty"] = "ImportError"
    monkeypatch.setattr(plugins, "installed", lambda: loaded)
    outcome = cxrkit("list", "model")
    assert outcome.code == 0
    assert "attn-bcdu" in outcome.out
    assert outcome.err.count("\n") == 1
    assert (
        "Warning: The plugin 'faulty' of cxrkit-faulty 0.3 failed to load: ImportError: no [such] thing" in outcome.err
    )
    details = cxrkit("plugins", "list", "--details").out
    assert "broken" in details
    assert details.endswith("trace\n")


def test_a_slow_plugin_is_reported_with_the_remedy(cxrkit, monkeypatch) -> None:
    from cxrkit import plugins

    loaded = plugins.load_plugins()
    loaded.statuses.append(plugins.PluginStatus("sloth", "cxrkit-sloth", "0.3", seconds=2.345))
    monkeypatch.setattr(plugins, "installed", lambda: loaded)
    outcome = cxrkit("list", "model")
    assert outcome.code == 0
    assert outcome.err.count("\n") == 1
    assert "Warning: The plugin 'sloth' of cxrkit-sloth 0.3 took 2.3 s to load" in outcome.err
    assert "CXRKIT_DISABLE_PLUGINS=sloth" in outcome.err


def warning_of(monkeypatch: pytest.MonkeyPatch, file: object, category: type[Warning] = UserWarning) -> None:
    """Let the training warn, from this source file, and then stop."""

    def train(*arguments: object, **more: object) -> None:
        warnings.warn_explicit("two\n [lines]", category, str(file), 7)
        raise DataError("a", "b")

    monkeypatch.setattr(api, "train", train)


def test_warnings_for_users_are_a_line_and_others_hidden(cxrkit, monkeypatch) -> None:
    import cxrkit_plugins

    plugin = Path(cxrkit_plugins.__file__).parent / "datasets" / "folder.py"
    for file in (plugin, api.__file__):
        warning_of(monkeypatch, file)
        assert cxrkit("train", "--quiet").err == "Warning: two [lines]\nError: a\nb\n"
    warning_of(monkeypatch, plugin, FutureWarning)
    assert cxrkit("train", "--quiet").err == "Error: a\nb\n"
    warning_of(monkeypatch, warnings.__file__)
    assert cxrkit("train", "--quiet").err == "Error: a\nb\n"


def test_debugging_shows_all_warnings_as_python_does(cxrkit, monkeypatch) -> None:
    for category in (UserWarning, FutureWarning):
        warning_of(monkeypatch, "/lib/other.py", category)
        with pytest.warns(category, match="two"):
            cxrkit("train", "--quiet", "--debug")


def test_further_processes_of_a_distributed_run_keep_silent(cxrkit, monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    failing(monkeypatch, DataError("a", "b"))
    outcome = cxrkit("train")
    assert (outcome.code, outcome.err) == (3, "")


def test_results_come_out_as_strict_json_in_ascii(capsys) -> None:
    show_json({"film": "ü", "distance": float("nan"), "all": [float("inf"), 0.5], "place": Path("x")})
    written = capsys.readouterr().out
    assert written.isascii()
    assert json.loads(written) == {"film": "ü", "distance": None, "all": [None, 0.5], "place": "x"}


HOSTILE = "a\x1b[31m\u202eb\x9bc\nError: d"


def test_names_cannot_steer_a_terminal(capsys) -> None:
    console.show(HOSTILE, console.table([HOSTILE], [[HOSTILE], [console.styled(HOSTILE, "red")]]))
    console.say(HOSTILE)
    console.warn(HOSTILE)
    console.print_error(DataError(HOSTILE, HOSTILE))
    console.print_defect(ValueError(HOSTILE))
    written = capsys.readouterr()
    assert not set("\x1b\u202e\x9b") & set(written.out + written.err)
    assert r"\x1b[31m\u202eb\x9bc" in written.out
    assert r"Error: a\x1b[31m\u202eb\x9bc\nError: d" + "\n" in written.err


def test_usage_errors_cannot_steer_a_terminal_either(cxrkit) -> None:
    outcome = cxrkit("doctor", "\x1b[31m", "\u202e")
    assert outcome.code == 2
    assert not set("\x1b\u202e") & set(outcome.err)


def test_tables_have_tabs_where_a_pipe_reads(capsys) -> None:
    console.show(console.table(["one", "two"], [["a", "b\nc"], ["d" * 500, "e\tf"]]))
    assert capsys.readouterr().out == f"one\ttwo\na\tb; c\n{'d' * 500}\te f\n"


def test_names_that_are_not_utf8_are_refused_at_the_start(cxrkit, tmp_path, monkeypatch) -> None:
    outcome = cxrkit("train", "--out", "runs/\udcff")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(r"Error: 'runs/\udcff': this name is not UTF-8.")


def test_a_training_that_stops_as_asked_is_no_error(cxrkit, monkeypatch) -> None:
    failing(monkeypatch, TrainingInterruptedError("Stopped at step 3.", "Continue."))
    outcome = cxrkit("train", "--quiet")
    assert (outcome.code, outcome.err) == (130, "Stopped at step 3.\nContinue.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such shell")
@pytest.mark.parametrize("words", ["list", "list --json", "plugins list", "show loss dice", "--help"])
def test_a_reader_that_leaves_early_is_no_fault(words) -> None:
    command = f"set -o pipefail; {sys.executable} -m cxrkit {words} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    assert done.returncode in (0, 1, 141)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cxrkit train --model att", ["attn-bcdu", "attn-unet"]),
        ("cxrkit train --loss dice+foc", ["dice+focal", "dice+focal-tversky"]),
        ("cxrkit ablate --model unet,attn-u", ["unet,attn-unet"]),
        ("cxrkit train --set train.clip", ["train.clip_norm="]),
        ("cxrkit train --set preprocess.clahe.t", ["preprocess.clahe.tiles="]),
        ("cxrkit train --model unet --set model.de", ["model.depth="]),
        ("cxrkit train --loss focal-tversky --set loss.focal-tversky.eps", ["loss.focal-tversky.epsilon="]),
        ("cxrkit train --data DATA --structures rib", ["ribs"]),
        ("cxrkit train --structures heart,left_l", ["heart,left_lung"]),
        ("cxrkit predict film.png --weights runs/", ["runs/mine"]),
        ("cxrkit evaluate runs/m", ["runs/mine"]),
        ("cxrkit show loss focal", ["focal", "focal-tversky"]),
        ("cxrkit list mod", ["model"]),
        ("cxrkit train --preset s", ["small-data"]),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab_completes_names_without_torch(tmp_path, monkeypatch, capsys, words, expected, shell) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.yaml").touch()
    (tmp_path / "films" / "masks" / "ribs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = words.replace("DATA", "films")
    monkeypatch.setenv("_CXRKIT_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", words)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    with pytest.raises(SystemExit):
        app(prog_name="cxrkit")
    out = capsys.readouterr().out
    offered = re.findall(r'"([^"]+)"', out) if shell == "zsh" else out.split()
    assert offered == expected


def test_completion_imports_no_torch(tmp_path) -> None:
    script = (
        "import sys\nfrom cxrkit.cli.app import app\ntry:\n    app(prog_name='cxrkit')\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    words = {"COMP_WORDS": "cxrkit train --model unet --set model.d", "COMP_CWORD": "5"}
    done = python("-c", script, env=os.environ | words | {"_CXRKIT_COMPLETE": "complete_bash"})
    assert done.stdout.split() == ["model.depth=", "False"]


@pytest.mark.parametrize(
    ("line", "kind", "code"),
    [
        ("predict gone.png --json", "DataError", 3),
        ("evaluate gone --json", "DataError", 3),
        ("show model gone --json", "PluginError", 4),
        ("data check --data gone --json", "ConfigError", 2),
        ("train --json --lr fast", "UsageError", 2),
        ("predict --json", "UsageError", 2),
        ("report gone --json", None, None),
        ("bench --config gone.yaml --json", None, None),
    ],
)
def test_with_json_an_error_is_an_object_on_stdout_too(cxrkit, line: str, kind: str | None, code: int | None) -> None:
    outcome = cxrkit(*line.split())
    error = json.loads(outcome.out)["error"]
    assert outcome.code == error["exit_code"] != 0
    assert kind in (None, error["kind"])
    assert code in (None, outcome.code)
    assert error["what"].split()[0] in outcome.err
    assert cxrkit(*line.replace(" --json", "").split()).out == ""


@pytest.mark.parametrize("command", ["train --data", "evaluate"])
def test_a_name_that_no_disk_takes_is_no_defect(cxrkit, command: str) -> None:
    outcome = cxrkit(*command.split(), "a" * 5000)
    assert outcome.code == 6
    assert "File name too long" in outcome.err


def test_with_json_defects_and_ctrl_c_are_objects_too(cxrkit, monkeypatch) -> None:
    for fault, kind, code in (
        (ZeroDivisionError("x"), "ZeroDivisionError", 1),
        (KeyboardInterrupt(), "Interrupted", 130),
    ):
        failing(monkeypatch, fault)
        outcome = cxrkit("train", "--quiet", "--json")
        assert json.loads(outcome.out)["error"]["kind"] == kind
        assert outcome.code == json.loads(outcome.out)["error"]["exit_code"] == code


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_terminals_that_lack_letters_get_their_numbers(encoding) -> None:
    done = python("-m", "cxrkit", "train", "--help", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u03bb ~ Beta" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such shell")
@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_fault(streams) -> None:
    command = f"{sys.executable} -m cxrkit list loss --json {streams}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_results_that_meet_a_full_disk_are_reported() -> None:
    command = f"{sys.executable} -m cxrkit list loss > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 6
    assert done.stderr.startswith("Error: The results can't be written: the disk is full.")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows kills outright")
def test_a_termination_request_tidies_up_as_ctrl_c_does(tmp_path) -> None:
    arguments = ("data", "prepare", "--size", "512", "--set", "data.count=500", "--set", "data.size=512")
    environment = {**os.environ, "CXRKIT_CACHE": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "cxrkit", *arguments], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        assert "Preparing films" in process.stderr.readline()
        process.terminate()
        assert process.stderr.read().endswith("Stopped. Run the same command to start again.\n")
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []

"""The documentation says what is so: commands parse, links lead somewhere, reference pages are the code's."""

from __future__ import annotations

import contextlib
import html
import importlib.util
import io
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer.main
import yaml
from PIL import Image

import cxrkit
from cxrkit.cli.app import app
from cxrkit.cli.settings import choose_settings
from cxrkit.config import resolve
from cxrkit.plugins import registry
from cxrkit.settings import SETTINGS
from cxrkit.testing import check_loss, check_model, check_writer

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "examples/cxrkit-example-plugin/README.md",
    ]
)
#: Plugins that the docs themselves tell readers to make or install first.
MADE_BY_READERS = ("heart-nets", "residual-unet", "contour-bce")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, *languages: str) -> list[str]:
    """The contents of fenced blocks of these languages."""
    return re.findall(rf"^ *```(?:{'|'.join(languages)})\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[list[str]]:
    """The arguments of every `cxrkit …` in shell text."""
    found: list[list[str]] = []
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|>")
        lexer.whitespace_split = True
        current: list[str] = []
        for token in [*lexer, ";"]:
            if set(token) <= set(";&|>"):
                if "cxrkit" in current:
                    found.append(current[current.index("cxrkit") + 1 :])
                current = []
            else:
                current.append(token)
    return found


def parse(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """A command's name and its parsed options, as the command line itself would parse them; nothing is run."""
    command: Any = typer.main.get_command(app)
    path = "cxrkit"
    rest = [argument for argument in arguments if argument not in ("--help", "-h", "--debug")]
    while getattr(command, "commands", None):
        if not rest or rest[0] in {option for parameter in command.params for option in parameter.opts}:
            return path, {}
        command.list_commands(
            None
        )  # those of other packages, the clinic package say, are found when they are asked for
        assert rest[0] in command.commands, f"{path} has no command {rest[0]!r}"
        command, path, rest = command.commands[rest[0]], f"{path} {rest[0]}", rest[1:]
        command = command.verb.load() if hasattr(command, "verb") else command
    return path, dict(command.make_context(path, rest).params)


def shell_text(path: Path) -> str:
    """The commands of a page, or of the comments of an example configuration."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return "\n".join(re.findall(r"^#   (cxrkit .*)$", text, re.MULTILINE))
    return "\n".join(blocks(text, "bash", "sh"))


SHELL = {
    name_of(path): found
    for path in [*PAGES, *sorted((ROOT / "examples").glob("*.yaml"))]
    if (found := commands(shell_text(path)))
}


@pytest.mark.parametrize("page", SHELL)
def test_commands_in_the_docs_parse_and_name_what_there_is(page: str) -> None:
    for arguments in SHELL[page]:
        try:
            check_command(arguments)
        except Exception as error:
            pytest.fail(f"cxrkit {' '.join(arguments)}: {error}")


def check_command(arguments: list[str]) -> None:
    path, options = parse(arguments)
    if path != "cxrkit train" or options["resume"] is not None or any(name in arguments for name in ("-h", "--help")):
        return
    if any(made in str(option) for made in MADE_BY_READERS for option in options.values()):
        return
    if len(options["data"] or ()) > 1:  # the aliases are those of the reader's places
        return
    # The places are the reader's; which dataset reads them is what counts.
    data = ["jsrt" if "jsrt" in place.lower() else "folder" for place in options["data"] or ()]
    file = options["config"]
    if file is not None and not str(file).startswith("runs/"):
        file = ROOT / file
        assert file.is_file()
    choices = choose_settings(
        {name: options[name] for name in (*SETTINGS, "mixup") if options[name] not in (None, [])},
        datasets=registry().components("dataset"),
        file=file if file and Path(file).is_file() else None,
        assignments=options["assignments"] or (),
        data=data,
        structures=options["structures"],
    )
    resolve(choices.config, registry())


@pytest.mark.parametrize("line", ["train --stepps 3", "train --protocol fair", "export", "trian", "data chek"])
def test_a_wrong_command_would_be_noticed(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such option|not one of|missing|has no command"):
        parse(line.split())


def test_commands_are_found_in_shell_text() -> None:
    text = (
        "pip install x\nCXRKIT_CACHE=y cxrkit data list > y.txt | head && cxrkit train --loss 'a + b' \\\n  --steps 3\n"
    )
    assert commands(text) == [["data", "list"], ["train", "--loss", "a + b", "--steps", "3"]]


# --- links ------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as Python-Markdown makes them."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (path.parent / place).resolve() if place else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r": (\S+\.md)$", navigation, re.MULTILINE))
    assert listed == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


def test_the_site_asks_no_font_server() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["theme"]["font"] is False


# --- README -----------------------------------------------------------------------------------------------


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    specification = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "part"), [("train", "cxrkit train"), ("tests", "pytest")])
def test_readme_has_the_commands_that_the_gate_runs(name: str, part: str) -> None:
    assert part in script("readme_commands").command(name, (ROOT / "README.md").read_text(encoding="utf-8"))


def test_a_readme_without_a_command_is_reported() -> None:
    with pytest.raises(SystemExit, match="no command 'train'"):
        script("readme_commands").command("train", "# cxrkit\n```bash\ncxrkit train\n```\n")


# --- reference pages --------------------------------------------------------------------------------------


def test_reference_pages_are_what_the_code_says() -> None:
    ended = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("page", sorted((DOCS / "reference").glob("*.md")), ids=name_of)
def test_reference_pages_hold_no_markup_of_the_terminal(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not [mark for mark in ("[dim]", "[bold]", "[/", "[default:") if mark in text]


def test_defaults_of_flags_have_their_own_column() -> None:
    text = (DOCS / "reference/cli.md").read_text(encoding="utf-8")
    train = text.partition("\n## cxrkit train\n")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in train.splitlines() if line.startswith("| `--")]
    shown = {option.strip("`"): default.strip("`") for option, _, default, _ in rows}
    told = {f"--{name.replace('_', '-')}": setting.default for name, setting in SETTINGS.items() if setting.default}
    assert {option: shown[option] for option in told} == told


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """docs/generate.py, writing to a folder of the test's own, of two pages."""
    monkeypatch.syspath_prepend(str(DOCS))
    module = script("generate")
    monkeypatch.setattr(module, "REFERENCE", tmp_path)
    monkeypatch.setattr(module, "make_pages", lambda: {"cli.md": "commands\n", "python.md": "names\n"})
    return module


def test_check_tells_stale_missing_and_left_over_pages(
    generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cli.md").write_text("old commands\n")
    (tmp_path / "gone.md").write_text("of a page that is made no more\n")
    assert generate.main(["--check"]) == 1
    told = capsys.readouterr().out
    assert all(name in told for name in ("cli.md", "python.md", "gone.md"))
    assert (tmp_path / "cli.md").read_text() == "old commands\n"
    assert generate.main([]) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == generate.make_pages()
    assert generate.main(["--check"]) == 0


def test_docstrings_become_markdown() -> None:
    text = """What it does.

    Args:
        first, second: of both
            together.

    Raises:
        DataError: it is gone.

    >>> 1 + 1
    2
    """
    assert script("rendering").markdown(text) == (
        "What it does.\n\n**Args**\n\n- `first`, `second`: of both together.\n\n"
        "**Raises**\n\n- `DataError`: it is gone.\n\n```python\n>>> 1 + 1\n2\n```"
    )


def test_help_texts_are_shown_as_they_are() -> None:
    from markdown import markdown

    text = "masks/<structure>/, 'dice + 0.5*bce', *.IMG"
    shown = markdown(script("rendering").literal(text))
    assert "<em>" not in shown
    assert html.unescape(re.sub(r"</?p>", "", shown)) == text


# --- architecture -----------------------------------------------------------------------------------------

ARCHITECTURE = DOCS / "explanation/architecture.md"


def section(path: Path, heading: str) -> str:
    """The text below a heading, down to the next."""
    return path.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_table_of_layers_is_that_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    levels = {module: level for level, row in enumerate(layers) for module in row.split(" : ")}
    rows = re.findall(r"^\| (`cxrkit.*?) \|", section(ARCHITECTURE, "Layers"), re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(cxrkit[\w.]*)`", row)]
    assert sorted(listed) == sorted([*levels, "cxrkit_plugins", "cxrkit_clinic"])
    shown = [levels[name] for name in listed if name in levels]
    assert shown == sorted(shown)


def test_where_changes_go_names_files_that_exist() -> None:
    text = section(ARCHITECTURE, "Where does my change go?")
    files = {name for name in re.findall(r"`([\w./-]+)`", text) if "/" in name or name.endswith(".py")}
    assert len(files) >= 10
    assert not [name for name in files if not (ROOT / name).exists()]


@pytest.mark.slow
def test_a_film_takes_the_ways_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRKIT_CACHE", str(tmp_path / "cache"))
    # Threads would hide who calls whom.
    importlib.import_module("cxrkit.engine.workers")  # it would keep what is patched, for all tests that follow
    monkeypatch.setattr("cxrkit.data.making.read_ahead", lambda function, items, _: map(function, items))
    monkeypatch.syspath_prepend(str(DOCS))
    ways = importlib.import_module("ways")
    write_films(tmp_path, 1)
    to_masks, to_loss = ways.Trace(ways.TO_MASKS), ways.Trace(ways.TO_LOSS)
    settings = {
        "data": {"name": "phantom", "count": 6, "size": 64},
        "model": {"name": "unet", "base_channels": 4, "depth": 2},
        "augment": [{"name": "mixup", "delta": 0.2}],
        "preprocess": {"size": 32},
        "split": {"test_size": 1, "validation": 1},
        "train": {"steps": 1, "batch_size": 2, "device": "cpu"},
    }
    before = sys.getprofile()
    try:
        sys.setprofile(to_loss)
        cxrkit.train(settings, out=tmp_path / "run")
        sys.setprofile(to_masks)
        cxrkit.predict([*(tmp_path / "images").iterdir()], tmp_path / "run", tmp_path / "predictions")
    finally:
        sys.setprofile(before)
    assert not [step.function for trace in (to_masks, to_loss) for step in trace.missing]


# --- Python in the pages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [p for p in PAGES if p.parent.name != "reference"], ids=name_of)
def test_python_in_the_pages_compiles(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8"), "python"):
        compile(textwrap.dedent(block), name_of(path), "exec")


@pytest.mark.parametrize(
    ("page", "name", "check"),
    [
        ("docs/how-to/own-plugin.md", "HeartNet", check_model),
        ("docs/how-to/own-plugin.md", "AreasWriter", check_writer),
        ("docs/index.md", "SquaredError", check_loss),
        ("README.md", "SquaredError", check_loss),
    ],
)
def test_components_in_the_pages_keep_their_contracts(page: str, name: str, check: Callable[[Any], None]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    [block] = [block for block in blocks(text, "python") if f"class {name}" in block]
    names: dict[str, Any] = {"__name__": "component_of_the_docs"}
    exec(block, names)
    check(names[name])


def test_the_logger_of_the_plugin_page_works(tmp_path: Path) -> None:
    text = (DOCS / "how-to/own-plugin.md").read_text(encoding="utf-8")
    [block] = [block for block in blocks(text, "python") if "class CsvLogger" in block]
    names: dict[str, Any] = {"__name__": "component_of_the_docs"}
    exec(block, names)
    logger = names["CsvLogger"]()
    logger.begin(tmp_path, {}, 0)
    logger.log(cxrkit.TrainingReading(10, 0.5, 0.6, 1e-3, 2.0))
    logger.log(cxrkit.ValidationReading(10, {"dice": 0.7}, "validation"))
    logger.end()
    assert (tmp_path / "loss.csv").read_text() == "10,0.5\n"


def write_films(folder: Path, count: int) -> None:
    """A folder of synthetic films and masks, as `how-to/own-data.md` lays it out."""
    dataset: Any = registry().get("dataset", "phantom").build(None, count=count, size=64, seed=5)
    for entry in dataset.entries():
        sample = dataset.read(entry)
        pictures = {f"masks/{name}": mask * np.uint8(255) for name, mask in sample.masks.items()}
        for place, pixels in {"images": sample.image, **pictures}.items():
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / place / f"{entry.id}.png")


@pytest.mark.slow
def test_the_python_page_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "how-to/python.md").read_text(encoding="utf-8")
    write_films(tmp_path / "other-hospital", 2)
    film = min((tmp_path / "other-hospital/images").iterdir())
    (tmp_path / "new-film.png").write_bytes(film.read_bytes())
    [settings] = blocks(text, "yaml")
    (tmp_path / "films.yaml").write_text(settings, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "python_page"}
    for number, block in enumerate(blocks(text, "python"), start=1):
        exec(compile(block, f"python.md, block {number}", "exec"), names)
    made = {path.name for path in (tmp_path / "runs").iterdir()}
    assert made == {"first", "from-file", "other-loss"}
    assert len(names["elsewhere"].films) == 2
    assert [run.state for run in names["results"].runs] == ["finished"] * 4
    assert names["heart"].shape == (64, 64)
    assert (tmp_path / "predictions/new-film/heart.png").is_file()
    printed = capsys.readouterr().out
    [promised] = re.findall(r"print\(error\.what\)  # (.*) …", text)
    assert promised in printed
    assert printed.splitlines()[-1] == "1 new-film.png"


def test_the_contrast_table_is_what_its_script_prints() -> None:
    text = (DOCS / "explanation/preprocessing.md").read_text(encoding="utf-8")
    [block] = blocks(text, "python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block, {})
    measured = [float(line.split()[-1]) for line in printed.getvalue().splitlines()]
    rows = re.findall(r"^\| (?:12|8)-bit \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert [float(cell) for row in rows for cell in row] == pytest.approx(measured, abs=0.002)

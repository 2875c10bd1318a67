"""Writing an ablation's report: a page that needs no other file, Markdown, CSV, LaTeX, and the figures."""

from __future__ import annotations

import base64
import io
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2

from cxrkit.ablation.results import Results
from cxrkit.engine.observer import Observer, Silent
from cxrkit.errors import DataError
from cxrkit.files import write_bytes, write_text
from cxrkit.report.ablation import tables
from cxrkit.report.ablation.figures import draw_all_figures
from cxrkit.report.ablation.numbers import Numbers, summarise_ablation

#: Pictures of films are embedded as JPEG of at most so many pixels in width.
_PICTURE_WIDTH, _PICTURE_QUALITY = 1100, 82


@dataclass(frozen=True)
class Picture:
    """A figure of the page: its bytes as a data URI, what stands below it, and what a blind reader hears."""

    title: str
    uri: str
    caption: str


def write_ablation_report(results: Results, observer: Observer | None = None) -> Numbers:
    """Write `report/` of an ablation, finished or not.

    Raises:
        DataError: no run is finished. StorageError: the place can't be written to.
    """
    if not results.count("finished"):
        raise DataError(
            f"{results.path}: none of its {len(results.runs)} runs is finished.",
            f"Go on with: cxrkit ablate --resume {results.path}",
        )
    listener = observer or Silent()
    listener.stage("Writing the report", 3)
    numbers = summarise_ablation(results)
    folder = results.path / "report"
    write_text(folder / "scores.csv", tables.scores_csv(numbers))
    write_text(folder / "runs.csv", tables.runs_csv(numbers))
    write_text(folder / "comparisons.csv", tables.comparisons_csv(numbers))
    name = results.plan.name
    main = tables.seeds_table(numbers)
    described = tables.Table(f"{name}. {main.caption} {_setting(numbers)}", main.headings, main.rows, main.bold)
    write_text(folder / "table.tex", tables.latex(described, name))
    listener.advance(1)
    pictures: list[Picture] = []
    for stem, (figure, caption) in draw_all_figures(numbers).items():
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
        write_bytes(folder / "figures" / f"{stem}.png", stream.getvalue())
        pictures.append(Picture(stem.capitalize(), _uri("png", stream.getvalue()), caption))
    listener.advance(2)
    write_text(folder / "report.md", _markdown(numbers, [(p.title, p.caption) for p in pictures]))
    films = _films(numbers)
    write_text(folder / "report.html", _page(numbers, pictures, films))
    listener.advance(3)
    return numbers


def headline(numbers: Numbers) -> list[str]:
    """What the ablation shows, in sentences that say no more than the tests do."""
    said = []
    for measure in numbers.primary:
        best = numbers.best(measure.key)
        if best is None or len([arm for arm in numbers.arms if arm.finished]) < 2:
            continue
        worse = [
            (c.second if c.first == best.arm else c.first)
            for c in numbers.comparisons
            if c.measure == measure.key and best.arm in (c.first, c.second) and c.corrected < 0.05
            if (c.test.difference > 0) == ((c.first == best.arm) == measure.higher_is_better)
        ]
        others = sum(arm.finished > 0 for arm in numbers.arms) - 1
        mean = measure.text(best.cells[measure.key].mean or 0.0)
        if len(worse) == others:
            proof = "better than every other arm"
        elif worse:
            proof = f"better than {len(worse)} of the {others} other arms; from the rest it can't be told apart"
        else:
            proof = "but no arm can be told from it"
        said.append(f"Highest {measure.label}: {best.arm.label} ({mean}), {proof} (p < 0.05, Holm-corrected).")
    return said


def _setting(numbers: Numbers) -> str:
    facts = numbers.facts
    seeds = ", ".join(str(seed) for seed in numbers.results.plan.seeds)
    return (
        f"Data: {facts['data']}; {facts['test films a seed']} test films; {facts['updates']} updates; input "
        f"{facts['input']}; protocol {facts['protocol']}; seeds {seeds}."
    )


def _again(numbers: Numbers) -> list[str]:
    path = shlex.quote(str(numbers.results.path))
    return [
        f"cxrkit ablate {path}/ablation.yaml --out {path}   # runs what isn't finished",
        f"cxrkit report {path}",
    ]


def _failures(numbers: Numbers) -> list[tuple[str, str]]:
    """Each run without scores: which, and why."""
    listed = []
    for run in numbers.results.runs:
        if run.state != "finished":
            why = {"failed": run.error or "", "stopped": "begun, not finished", "missing": "not begun"}[run.state]
            listed.append((f"{run.arm.label}, seed {run.seed}", f"{run.state}: {why}" if run.error else why))
    return listed


def _markdown(numbers: Numbers, pictures: list[tuple[str, str]]) -> str:
    parts = [f"# {numbers.results.plan.name}", ""]
    parts += [*(f"- {sentence}" for sentence in headline(numbers)), ""]
    parts += [*(f"> **{warning}**" for warning in numbers.warnings), ""]
    if failures := _failures(numbers):
        parts += ["## Missing runs", "", *(f"- **{run}**: {why}" for run, why in failures), ""]
    parts += ["## Over seeds", "", _setting(numbers), "", tables.markdown(tables.seeds_table(numbers))]
    parts += ["## Over films", "", tables.markdown(tables.films_table(numbers))]
    if numbers.comparisons:
        told = tables.told_comparisons(numbers)
        parts += ["## Pairs of arms that differ in one factor", ""]
        parts += [tables.markdown(tables.pairs_table(numbers, told)), "All pairs: `comparisons.csv`.", ""]
    if numbers.effects:
        parts += ["## Main effects", "", tables.markdown(tables.effects_table(numbers))]
    parts += ["## Figures", ""]
    for title, caption in pictures:
        parts += [f"![{title}](figures/{title.lower()}.png)", "", caption, ""]
    parts += ["## What was run", "", *(f"- {name}: {value}" for name, value in numbers.facts.items()), ""]
    parts += ["```bash", *_again(numbers), "```", ""]
    return "\n".join(parts)


def _films(numbers: Numbers) -> list[Picture]:
    """Truth beside prediction, of the best, median and worst film of each arm's first finished seed."""
    pictures = []
    for arm in numbers.arms:
        for run in arm.runs:
            image = cv2.imread(str(run.run.report / "overlays.png")) if run.state == "finished" else None
            if image is not None:
                scale = min(1.0, _PICTURE_WIDTH / image.shape[1])
                small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _PICTURE_QUALITY])
                caption = f"{arm.arm.label}, seed {run.seed}: best, median and worst test film by mean Dice."
                pictures.append(Picture(arm.arm.label, _uri("jpeg", encoded.tobytes()), caption))
                break
    return pictures


def _page(numbers: Numbers, pictures: list[Picture], films: list[Picture]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cxrkit.report.ablation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    told = tables.told_comparisons(numbers)
    rest = [c for c in numbers.comparisons if c not in told]
    return environment.get_template("page.html.jinja").render(
        name=numbers.results.plan.name,
        headline=headline(numbers),
        setting=_setting(numbers),
        warnings=numbers.warnings,
        failures=_failures(numbers),
        seeds=tables.seeds_table(numbers),
        incomplete=[bool(arm.missing) for arm in numbers.arms],
        over_films=tables.films_table(numbers),
        told=tables.pairs_table(numbers, told) if told else None,
        rest=tables.pairs_table(numbers, rest) if rest else None,
        effects=tables.effects_table(numbers) if numbers.effects else None,
        pictures=pictures,
        films=films,
        facts=numbers.facts,
        again=_again(numbers),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def report_files(path: Path) -> dict[str, Path]:
    """What a report consists of, by what it is."""
    folder = path / "report"
    return {
        "page": folder / "report.html",
        "Markdown": folder / "report.md",
        "LaTeX": folder / "table.tex",
        "scores": folder / "scores.csv",
    }

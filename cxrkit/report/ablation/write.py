"""Writing an ablation's report: a page that needs no other file, Markdown, CSV, LaTeX, and the figures."""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cxrkit.ablation.results import Results
from cxrkit.engine.observer import Observer, Silent
from cxrkit.errors import DataError
from cxrkit.files import write_bytes, write_text
from cxrkit.report.ablation import csvs, tables
from cxrkit.report.ablation.caveats import missing_briefly, missing_runs
from cxrkit.report.ablation.facts import setting
from cxrkit.report.ablation.figures import STEMS, Drawn, draw_all_figures
from cxrkit.report.ablation.formats import Table, latex, markdown
from cxrkit.report.ablation.headline import headline
from cxrkit.report.ablation.numbers import Numbers, summarise_ablation
from cxrkit.report.ablation.pictures import Picture, film_pictures, without_pictures


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
    write_text(folder / "scores.csv", csvs.scores_csv(numbers))
    write_text(folder / "runs.csv", csvs.runs_csv(numbers))
    write_text(folder / "comparisons.csv", csvs.comparisons_csv(numbers))
    write_text(folder / "effects.csv", csvs.effects_csv(numbers))
    write_text(folder / "table.tex", _latex(numbers))
    listener.advance(1)
    pictures = [_picture(drawn) for drawn in draw_all_figures(numbers)]
    films = film_pictures(numbers)
    _write_pictures(folder / "figures", [*pictures, *films])
    listener.advance(2)
    write_text(folder / "report.md", _markdown(numbers, pictures, films))
    write_text(folder / "report.html", _page(numbers, pictures, films))
    listener.advance(3)
    return numbers


def _latex(numbers: Numbers) -> str:
    name, main = numbers.results.plan.name, tables.seeds_table(numbers)
    said = [f"{name}.", main.caption, setting(numbers), missing_briefly(numbers)]
    caption = " ".join(sentence for sentence in said if sentence)
    return latex(Table(caption, main.headings, main.rows, main.bold), name)


def _picture(drawn: Drawn) -> Picture:
    stream = io.BytesIO()
    drawn.figure.savefig(stream, format="png")
    return Picture(f"{drawn.stem}.png", drawn.title, drawn.caption, stream.getvalue())


def _write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write them, and take away those of an earlier report that aren't in this one."""
    for picture in pictures:
        write_bytes(folder / picture.file, picture.content)
    written = {picture.file for picture in pictures}
    for old in [*(folder / f"{stem}.png" for stem in STEMS), *folder.glob("films-*.jpg")]:
        if old.name not in written:
            with suppress(OSError):
                old.unlink(missing_ok=True)


def _again(numbers: Numbers) -> list[str]:
    path = shlex.quote(str(numbers.results.path))
    return [
        f"cxrkit ablate {path}/ablation.yaml --out {path}   # runs what isn't finished",
        f"cxrkit report {path}",
    ]


def _markdown(numbers: Numbers, pictures: Sequence[Picture], films: Sequence[Picture]) -> str:
    parts = [f"# {numbers.results.plan.name}", ""]
    parts += [*(f"- {sentence}" for sentence in headline(numbers)), ""]
    for warning in numbers.warnings:
        parts += [f"> **{warning}**", ""]
    if failures := missing_runs(numbers):
        parts += ["## Missing runs", "", *(f"- **{run}**: {why}" for run, why in failures), ""]
    parts += ["## Over seeds", "", setting(numbers), "", markdown(tables.seeds_table(numbers))]
    parts += ["## Over films", "", markdown(tables.films_table(numbers))]
    told, rest = tables.primary_comparisons(numbers)
    if told:
        parts += ["## Pairs of arms that differ in one factor", "", markdown(tables.pairs_table(numbers, told))]
    if told or rest:
        parts += ["All pairs in all measures: `comparisons.csv`.", ""]
    if numbers.effects:
        parts += ["## Main effects", "", markdown(tables.effects_table(numbers))]
    if numbers.level_pairs:
        parts += [markdown(tables.levels_table(numbers)), "The same, unrounded: `effects.csv`.", ""]
    parts += ["## Figures", ""]
    for picture in pictures:
        parts += [f"![{picture.title}](figures/{picture.file})", "", picture.caption, ""]
    if films:
        parts += ["## Films: truth and prediction", ""]
        for picture in films:
            parts += [f"![{picture.title}](figures/{picture.file})", "", picture.caption, ""]
        if lacking := without_pictures(numbers, films):
            parts += [lacking, ""]
    parts += ["## What was run", "", *(f"- {name}: {value}" for name, value in numbers.facts.items()), ""]
    parts += ["```bash", *_again(numbers), "```", ""]
    return "\n".join(parts)


def _page(numbers: Numbers, pictures: Sequence[Picture], films: Sequence[Picture]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cxrkit.report.ablation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    told, rest = tables.primary_comparisons(numbers)
    return environment.get_template("page.html.jinja").render(
        name=numbers.results.plan.name,
        headline=headline(numbers),
        setting=setting(numbers),
        warnings=numbers.warnings,
        failures=missing_runs(numbers),
        seeds=tables.seeds_table(numbers),
        incomplete=[bool(arm.missing) for arm in numbers.arms],
        over_films=tables.films_table(numbers),
        told=tables.pairs_table(numbers, told) if told else None,
        rest=tables.pairs_table(numbers, rest) if rest else None,
        effects=tables.effects_table(numbers) if numbers.effects else None,
        levels=tables.levels_table(numbers) if numbers.level_pairs else None,
        pictures=pictures,
        films=films,
        lacking_films=without_pictures(numbers, films),
        facts=numbers.facts,
        again=_again(numbers),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def report_files(path: Path) -> dict[str, Path]:
    """What a report consists of, by what it is."""
    folder = path / "report"
    return {
        "page": folder / "report.html",
        "Markdown": folder / "report.md",
        "LaTeX": folder / "table.tex",
        "scores": folder / "scores.csv",
    }

"""Writing an ablation's report: a page that needs no other file, Markdown, CSV, LaTeX, and the figures."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cxrkit.ablation.results import Results
from cxrkit.engine.observer import Observer, Silent
from cxrkit.errors import DataError
from cxrkit.files import write_bytes, write_text
from cxrkit.report.ablation import csvs, tables
from cxrkit.report.ablation.caveats import all_caveats, missing_briefly, missing_runs
from cxrkit.report.ablation.facts import all_facts, setting
from cxrkit.report.ablation.figures import STEMS, draw_all_figures
from cxrkit.report.ablation.headline import headline
from cxrkit.report.ablation.numbers import Numbers, summarise_ablation
from cxrkit.report.ablation.pictures import film_pictures, without_pictures
from cxrkit.report.sections import Alarm, Bullets, Code, Folded, Item, Picture, Section, markdown


def write_ablation_report(results: Results, observer: Observer | None = None) -> Numbers:
    """Write `report/` of an ablation, finished or not.

    Raises:
        DataError: no run is finished. StorageError: the folder can't be written to.
    """
    if not results.finished:
        raise DataError(
            f"{results.path}: none of its {len(results.runs)} runs is finished.",
            f"Continue with: cxrkit ablate --resume {results.path}",
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
    pictures, films = list(_pictures(numbers)), film_pictures(numbers)
    _write_pictures(folder, [*pictures, *films])
    listener.advance(2)
    sections = list(_sections(numbers, pictures, films))
    write_text(folder / "report.md", markdown(sections))
    write_text(folder / "report.html", _page(sections))
    listener.advance(3)
    return numbers


def _latex(numbers: Numbers) -> str:
    results, main = numbers.results, tables.seeds_table(numbers)
    parts = [f"{results.plan.name}.", main.caption, setting(results), missing_briefly(results)]
    return replace(main, caption=" ".join(part for part in parts if part)).latex(results.plan.name)


def _pictures(numbers: Numbers) -> Iterator[Picture]:
    for drawn in draw_all_figures(numbers):
        stream = io.BytesIO()
        drawn.figure.savefig(stream, format="png")
        yield Picture(f"figures/{drawn.stem}.png", drawn.title, drawn.caption, stream.getvalue())


def _write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write them, and remove those of an earlier report that aren't in this one."""
    for picture in pictures:
        write_bytes(folder / picture.file, picture.content)
    written = {folder / picture.file for picture in pictures}
    figures = folder / "figures"
    for old in [*(figures / f"{stem}.png" for stem in STEMS), *figures.glob("films-*.jpg")]:
        if old not in written:
            with suppress(OSError):
                old.unlink(missing_ok=True)


def _sections(numbers: Numbers, pictures: Sequence[Picture], films: Sequence[Picture]) -> Iterator[Section]:
    results = numbers.results
    verdict = Bullets([("", sentence) for sentence in headline(numbers)])
    yield Section(results.plan.name, (verdict, *map(Alarm, all_caveats(numbers))), level=1)
    if failures := missing_runs(results):
        yield Section("Missing runs", (Bullets(failures, alarm=True),))
    reading = tables.how_to_read(numbers)
    yield Section("Over seeds", (setting(results), tables.seeds_table(numbers), reading))
    yield Section("Over films", (tables.films_table(numbers),))
    if plausibility := numbers.plausibility:
        after = "Connected parts of masks as thresholded, and holes in them; “after”: after post-processing."
        yield Section("Parts and holes", (after, tables.seeds_table(numbers, plausibility)))
    single, rest = tables.primary_comparisons(numbers)
    if single or rest:
        folded: list[Item] = []
        if single:
            folded.append(Folded(f"{len(single)} comparisons", tables.pairs_table(numbers, single)))
        if rest:
            others = tables.pairs_table(numbers, rest)
            folded.append(Folded(f"All other pairs ({len(rest)})", others, page_only=True))
        title = "Pairs of arms that differ in one factor" if single else "Pairs of arms"
        yield Section(title, (*folded, "All pairs in all measures: `comparisons.csv`."))
    effects, levels = tables.effects_table(numbers), tables.levels_table(numbers)
    if effects is not None:
        unrounded = (levels, "The same, unrounded: `effects.csv`.") if levels is not None else ()
        yield Section("Main effects", (effects, *unrounded))
    yield Section("Figures", pictures)
    lost = "The runs' pictures are not there; `cxrkit evaluate RUN` draws them again where films and weights are."
    yield Section("Films: truth and prediction", (*films, without_pictures(numbers, films) if films else lost))
    path = shlex.quote(str(results.path))
    again = [
        f"cxrkit ablate {path}/ablation.yaml --out {path}   # runs what isn't finished",
        f"cxrkit report {path}",
    ]
    yield Section("What was run", (Bullets(list(all_facts(results).items())), Code(again)))


def _page(sections: Sequence[Section]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    loader = PackageLoader("cxrkit.report.ablation", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = lambda text: Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template("page.html.jinja").render(sections=sections, written=written)

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from cxrkit.engine.scores import Evaluation
from cxrkit.report.sections import Alarm, Bullets, Section, markdown
from cxrkit.report.summary import summarise
from cxrkit.report.tables import remarks, rich_tables, score_sections
from cxrkit.report.text_table import Table


def markdown_table(summary) -> str:
    return markdown(score_sections(summary))


def rendered(summary) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200).print(*rich_tables(summary))
    return stream.getvalue()


def test_means_and_sample_deviations_over_films(evaluation) -> None:
    summary = summarise(evaluation([0.9, 0.8, 0.7]))
    content, heart = summary.content(), summary.structures["heart"]
    assert (heart["dice"].mean, heart["dice"].std) == pytest.approx((0.8, 0.1))  # of 0.9, 0.8, 0.7 with n - 1
    assert heart["hd95_mm"].mean == pytest.approx(8.0)
    assert content["honest"]["heart"]["dice"] == {"mean": heart["dice"].mean, "std": heart["dice"].std, "films": 3}
    assert content["paper"]["dsc"]["mean"] == pytest.approx(0.85)
    assert content["paper"]["iou"]["mean"] == pytest.approx(0.75)
    assert (content["films"], summary.units) == (3, ("mm",))


def test_a_single_film_has_no_deviation(evaluation) -> None:
    assert "| heart | 50.0 | 25.0 | 5.00 | 1.00 |" in markdown_table(summarise(evaluation([0.5])))


def test_the_terminal_shows_percentages_units_and_the_protocol(evaluation) -> None:
    text = rendered(summarise(evaluation([0.9, 0.8, 0.7])))
    assert "3 test films, honest protocol" in text
    assert "HD95 mm" in text
    assert "80.0 ± 10.0" in text


def test_remarks_label_the_papers_protocol_and_what_the_spread_is_over(evaluation) -> None:
    text = "\n".join(remarks(summarise(evaluation())))
    assert "Paper's protocol (soft, all channels): DSC 85.0 ± 10.0 %, IoU 75.0 ± 10.0 %." in text
    assert "Mean ± sample standard deviation (ddof 1) over films, not over runs: " in text
    assert "chosen on the validation films" in text
    assert "optimistic" not in text


@pytest.mark.parametrize(("selected_on", "words"), [("test", "optimistic"), ("nothing", "nothing was chosen")])
def test_the_choice_of_weights_is_stated(evaluation, selected_on, words) -> None:
    summary = summarise(evaluation(selected_on=selected_on))
    assert words in "\n".join(remarks(summary))
    assert words in markdown_table(summary)


def test_films_on_which_a_structure_was_missed_are_counted(evaluation) -> None:
    assert "Missed" not in markdown_table(summarise(evaluation([0.9, 0.8, 0.7])))
    missed = summarise(evaluation([0.9, 0.0, 0.0]))
    assert "Missed altogether: heart on 2 of the films; they count with a Dice of 0" in markdown_table(missed)
    assert "Missed altogether" in "\n".join(remarks(missed))


def test_films_without_spacing_are_averaged_apart(evaluation) -> None:
    summary = summarise(evaluation([0.9, 0.8, 0.7], units=["mm", "px", "mm"]))
    heart = summary.structures["heart"]
    assert summary.units == ("mm", "px")
    assert heart["hd95_mm"].mean == pytest.approx(8.0)
    assert heart["hd95_px"].mean == pytest.approx(8.0)
    assert (heart["hd95_mm"].films, heart["hd95_px"].films) == (2, 1)
    assert "2 films in mm and 1 film in px" in "\n".join(remarks(summary))
    assert "HD95 px" in rendered(summary)


def test_films_without_a_structure_do_not_count_in_its_mean(evaluation) -> None:
    content = evaluation([0.9, 0.8, 0.7]).model_dump()
    del content["films"][2]["structures"]["heart"]
    summary = summarise(Evaluation.model_validate(content))
    assert summary.structures["heart"]["dice"].mean == pytest.approx(0.85)
    assert summary.structures["heart"]["dice"].films == 2
    assert "Films with a true mask, where not all 3 have one: heart 2." in markdown_table(summary)


def test_pixels_are_explained(evaluation) -> None:
    assert "pixels of the network's input" in markdown_table(summarise(evaluation([0.5], units=["px"])))


@pytest.mark.parametrize(
    ("ctr", "expected"),
    [
        ([(0.50, 0.45), (0.55, 0.60)], "Absolute error of the cardiothoracic ratio: 0.0500 ± 0.0000 over 2 films."),
        (
            [(0.50, 0.45), (None, 0.60)],
            "ratio: 0.0500 over 1 film; no value on 1 more, where a structure was not found.",
        ),
        ([(None, 0.45), (None, 0.60)], "no film has one; no value on 2 more"),
    ],
)
def test_the_ratios_error_comes_with_its_counts(evaluation, ctr, expected) -> None:
    assert expected in "\n".join(remarks(summarise(evaluation([0.9, 0.8], ctr=ctr))))


def test_no_true_ratio_no_sentence(evaluation) -> None:
    assert "cardiothoracic" not in markdown_table(summarise(evaluation()))


def test_markdown_rows_have_as_many_cells_as_the_heading(evaluation) -> None:
    text = markdown_table(summarise(evaluation([0.9, 0.8], units=["mm", "px"])))
    honest = text[: text.index("### Paper's protocol")]
    widths = {line.count("|") for line in honest.splitlines() if line.startswith("|")}
    assert widths == {8}  # structure, Dice, IoU, HD95 and ASSD in two units each
    assert "| lungs | 100.0 ± 0.0 |" in honest


def test_names_become_neither_html_nor_links_nor_columns() -> None:
    name = "<img src=x onerror=alert(1)> [a](javascript:b) x|y\nz &lt; p<0.05"
    written = markdown([Section(name, (name, Bullets([(name, name)]), Table(name, (name,), ((name,),)), Alarm(name)))])
    assert "<img" not in written
    assert "](" not in written
    assert "p<0.05" in written
    assert len([line for line in written.splitlines() if line.startswith("|")]) == 3
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 2 for line in written.splitlines() if line.startswith("|"))

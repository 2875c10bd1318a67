"""A report as a list of sections, written once and rendered as Markdown and as a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from cxrkit.report.text_table import Table, escape_markdown


@dataclass(frozen=True)
class Bullets:
    """Lines, each with what it is about, if that is named; `alarm` where something is missing."""

    lines: Sequence[tuple[str, str]]
    alarm: bool = False


@dataclass(frozen=True)
class Alarm:
    """A sentence that must not be overlooked."""

    text: str


@dataclass(frozen=True)
class Folded:
    """A table below a title that opens and closes it on a page; `page_only` is closed there, and not in Markdown."""

    title: str
    table: Table
    page_only: bool = False


@dataclass(frozen=True)
class Code:
    """Lines for a shell."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Picture:
    """A picture: its file relative to the Markdown, title, caption, and the file's bytes for the page."""

    file: str
    title: str
    caption: str = ""
    content: bytes = b""

    @property
    def uri(self) -> str:
        """The bytes as a data URI."""
        kind = "jpeg" if self.file.endswith(".jpg") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode('ascii')}"


Item = str | Bullets | Alarm | Table | Folded | Code | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: paragraphs of text, and other items; level 1 is the title."""

    title: str
    items: Sequence[Item] = ()
    level: int = 2


def markdown(sections: Sequence[Section]) -> str:
    """The sections as GitHub's Markdown."""
    blocks = []
    for section in sections:
        blocks += [f"{'#' * section.level} {escape_markdown(section.title)}", *(_block(item) for item in section.items)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _block(item: Item) -> str:
    match item:
        case str():
            return escape_markdown(item)
        case Bullets():
            name = "**{}**: " if item.alarm else "{}: "
            return "\n".join(
                escape_markdown(f"- {name.format(about) if about else ''}{text}") for about, text in item.lines
            )
        case Alarm():
            return f"> **{escape_markdown(item.text)}**"
        case Table():
            return item.markdown()
        case Folded():
            return "" if item.page_only else item.table.markdown()
        case Code():
            return "\n".join(["```bash", *item.lines, "```"])
        case Picture():
            caption = f"\n\n{escape_markdown(item.caption)}" if item.caption else ""
            return f"![{escape_markdown(item.title)}]({item.file}){caption}"

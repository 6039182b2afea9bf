"""The skeleton of a report: one HTML page that asks for nothing, runs nothing and can be printed."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec

from qfkit.errors import ParameterError
from qfkit.views.report.style import STYLE
from qfkit.views.text import clean

__all__ = ["Report", "Section", "page_html", "safe", "written"]

# Nothing is loaded and no script runs, whatever text may get into the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_FRAME_PIXELS = 720


class Section(msgspec.Struct, frozen=True):
    """A chapter: its title and its HTML, in which foreign text is escaped already."""

    title: str
    body: str


class Report:
    """A page. A cell shows it in a frame of its own; :meth:`save` writes it, ``html`` is its text."""

    def __init__(self, html: str, subject: str) -> None:
        self.html = html
        self._subject = subject

    def save(self, path: Path | str) -> Path:
        """Write the page, over one that was there; returns where. Raises :class:`ParameterError` where it cannot be."""
        return written(path, self.html)

    def __repr__(self) -> str:
        return f"Report of {clean(self._subject)}: {len(self.html.encode()) / 1000:,.0f} kB; save it with .save('report.html')"

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="" width="100%" height="{_FRAME_PIXELS}" '
            'style="border:1px solid rgba(123,129,139,.35);border-radius:6px"></iframe>'
        )


def written(path: Path | str, html: str) -> Path:
    """Write a page in whole, over one that was there."""
    file = Path(path).expanduser()
    if file.is_dir():
        raise ParameterError(f'report({str(path)!r}): that is a folder; name a file in it, such as "report.html"')
    if not file.parent.is_dir():
        raise ParameterError(f"report({str(path)!r}): there is no folder {str(file.parent)!r}; make it first")
    if file.suffix.lower() not in (".html", ".htm"):
        raise ParameterError(
            f'report({str(path)!r}): a report is a web page, so its name ends in ".html"; '
            "for a PDF open the page and print it"
        )
    file.write_text(html, encoding="utf-8", newline="\n")
    return file


def safe(text: object) -> str:
    """Foreign text made harmless: escaped, in one line, without control characters."""
    return escape(clean(text))


def page_html(
    *,
    kind: str,
    title: str,
    about: Sequence[str],
    badges: Sequence[tuple[str, bool]] = (),
    in_short: Sequence[str] = (),
    sections: Sequence[Section],
    footer: str = "",
) -> str:
    """The page. All texts but the sections' bodies are escaped here; a badge with True is a warning."""
    names = [f"s{number}" for number in range(1, len(sections) + 1)]
    links = "".join(
        f'<a href="#{name}">{safe(section.title)}</a>' for name, section in zip(names, sections, strict=True)
    )
    chapters = "".join(
        f'<section id="{name}"><h2>{safe(section.title)}</h2>{section.body}</section>'
        for name, section in zip(names, sections, strict=True)
    )
    told = "".join(f"<li>{safe(line)}</li>" for line in in_short)
    lines = "".join(f'<p class="about">{safe(line)}</p>' for line in about)
    short = f'<div class="short"><ul>{told}</ul></div>' if told else ""
    marks = "".join(f'<span class="{_badge(is_warning)}">{safe(text)}</span>' for text, is_warning in badges)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f'<link rel="icon" href="data:,"><title>{safe(title)}</title><style>{STYLE}</style></head>'
        f'<body><div class="sheet"><header><p class="kind">{safe(kind)}</p><h1>{safe(title)}</h1>'
        f"{lines}{marks}</header><nav>{links}</nav>{short}"
        f"<main>{chapters}</main><footer>{safe(footer)}</footer></div></body></html>\n"
    )
    return page.encode("utf-8", "replace").decode()


def _badge(is_warning: bool) -> str:
    return "badge warn" if is_warning else "badge"

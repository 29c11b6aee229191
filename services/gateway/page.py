"""The frame of every page: no script at all, so that a page works everywhere and its policy can forbid all of them."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from starlette.responses import HTMLResponse

STYLE = files("services.gateway").joinpath("page.css").read_text(encoding="utf-8")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    # Not no-referrer: a browser would then send `Origin: null` with the form.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def page(title: str, content: str, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    """`content` is HTML, `title` is not."""
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} – Counterpoint</title>
<link rel="stylesheet" href="/page.css">
</head>
<body>
<header><a href="/">Counterpoint</a></header>
<main>
<h1>{escape(title)}</h1>
{content}
</main>
</body>
</html>
"""
    return HTMLResponse(text, status, headers={**HEADERS, **(headers or {})})


def sentence_page(title: str, sentence: str, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    """A page that says one thing."""
    return page(title, f"<p>{escape(sentence)}</p>", status, headers)

"""Docstrings as the HTML of a documentation site: the main content, without any page frame around it.

Knows what authors of docstrings do: paragraphs, lists, underlined (NumPy) and indented (Google) sections,
definition lists of parameters, doctest and literal blocks, inline code and cross references. What fits
nothing is a paragraph.
"""

from __future__ import annotations

import re
from html import escape

from hare_ray.corpus.demo_source import Article, Entry

UNDERLINE = re.compile(r"^([=\-~^*])\1{2,}\s*$")
GOOGLE = re.compile(r"^(Args|Arguments|Returns|Yields|Raises|Examples?|Notes?|Attributes|Usage|Warnings?|Shape):\s*$")
ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
NUMBERED = re.compile(r"^\s*\d+[.)]\s+")
DIRECTIVE = re.compile(r"^\.\. ([\w:-]+)::\s*(.*)")
LEADS = {
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
}
VERBATIM = frozenset({"math", "code-block", "code", "plot", "testcode", "sourcecode", "doctest"})
TERM = re.compile(r"^(?:\*{0,2}[\w.`, ]{1,60}\*{0,2}\s*(?:\([^)]*\))?\s*:(?:\s|$)|\w+$)")
INLINE = re.compile(r"``(.+?)``|:[\w:]+:`~?(.+?)`|`([^`]+?)`_{0,2}|\*\*(\S.*?)\*\*|(?<![\w*])\*(\w[^*]*?)\*(?!\w)")
CODE_INDENT = 4


def inline(text: str) -> str:
    """Escaped text with its inline markup."""
    return INLINE.sub(_inline, escape(text, quote=False))


def _inline(found: re.Match[str]) -> str:
    code, role, reference, strong, emphasis = found.groups()
    if code:
        return f"<code>{code}</code>"
    if role or reference:
        name = (role or reference).strip()
        return f'<a class="reference internal" href="#{escape(re.sub("[^A-Za-z0-9_.]", "-", name))}">{name}</a>'
    return f"<strong>{strong}</strong>" if strong else f"<em>{emphasis}</em>"


def _blocks(doc: str) -> list[list[str]]:
    """Runs of lines between blank ones; a doctest or an indented block keeps its blank lines out too."""
    blocks: list[list[str]] = [[]]
    for line in doc.split("\n"):
        if line.strip():
            blocks[-1].append(line.expandtabs().rstrip())
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _items(block: list[str]) -> str:
    """A list; lines without a bullet go on with the item before."""
    items: list[str] = []
    for line in block:
        if ITEM.match(line) or not items:
            items.append(ITEM.sub("", line))
        else:
            items[-1] += " " + line.strip()
    tag = "ol" if NUMBERED.match(block[0]) else "ul"
    return f"<{tag}>" + "".join(f"<li>{inline(item)}</li>" for item in items) + f"</{tag}>"


def _definitions(block: list[str]) -> str:
    """Terms at the left edge, indented descriptions under or behind them."""
    edge = _indent(block[0])
    html = ["<dl>"]
    for line in block:
        if _indent(line) == edge:
            term, _, rest = line.strip().partition(": ")
            html.append(f"<dt>{inline(term)}</dt><dd>{inline(rest)}")
        else:
            html.append(" " + inline(line.strip()))
    return "".join(html) + "</dl>"


def _pre(block: list[str]) -> str:
    edge = min(map(_indent, block))
    return '<div class="highlight"><pre>' + escape("\n".join(line[edge:] for line in block)) + "</pre></div>"


def _directive(name: str, argument: str, rest: list[str]) -> str:
    """A box with a title, or what the directive shows word for word."""
    if name in VERBATIM:
        shown = rest or [argument]
        return _pre([line for line in shown if not line.strip().startswith(":")] or [argument])
    title = LEADS.get(name, name.capitalize())
    text = " ".join(line.strip() for line in rest)
    return f'<div class="admonition {name}"><p>{title} {inline(argument)}</p><p>{inline(text)}</p></div>'


def _block(block: list[str], literal: bool, in_section: bool = False) -> str:
    """One block of lines as HTML."""
    first = block[0]
    if first.lstrip().startswith(">>>") or (literal and _indent(first) >= CODE_INDENT):
        return _pre(block)
    directive = DIRECTIVE.match(first.lstrip())
    if directive:
        return _directive(directive[1], directive[2], block[1:])
    if ITEM.match(first):
        return _items(block)
    edge, inner = _indent(first), {_indent(line) for line in block[1:]}
    if inner and min(inner) > edge and first.endswith(":") and not TERM.match(first.strip()):
        return _block([first], False) + "\n" + _block(block[1:], True)
    if (in_section or (inner and min(inner) >= edge < max(inner))) and TERM.match(first.strip()):
        return _definitions(block)
    return f"<p>{inline(' '.join(line.strip() for line in block))}</p>"


def prose(doc: str, level: int) -> str:
    """A docstring as HTML; its section headings are `level`."""
    html: list[str] = []
    literal = False
    for whole in _blocks(doc):
        block, in_section = whole, False
        if len(block) > 1 and UNDERLINE.match(block[1].strip()):
            html.append(f"<h{level}>{inline(block[0].strip())}</h{level}>")
            block = block[2:]
        elif GOOGLE.match(block[0].strip()):
            html.append(f"<h{level}>{inline(block[0].strip().rstrip(':'))}</h{level}>")
            block, in_section = block[1:], True
        if not block or (len(block) == 1 and UNDERLINE.match(block[0].strip())):
            continue
        html.append(_block(block, literal, in_section))
        literal = block[-1].endswith("::") or (literal and _indent(block[0]) >= CODE_INDENT)
    return "\n".join(html)


def summary(doc: str) -> str:
    """The first paragraph, cut after its first sentence."""
    first = " ".join(doc.split("\n\n", 1)[0].split())
    return first.split(". ", 1)[0]


def _member(entry: Entry, level: int) -> str:
    short = entry.name.rpartition(".")[2]
    keyword = "<em>class</em> " if entry.kind == "class" else ""
    anchor = escape(entry.name)
    head = (
        f'<dt class="sig" id="{anchor}">{keyword}<code><b>{escape(short)}</b>{escape(entry.signature)}</code>'
        f'<a class="headerlink" href="#{anchor}" title="Link to this definition">#</a></dt>'
    )
    inside = "\n".join(_member(member, level + 1) for member in entry.members)
    return f'<dl class="py {entry.kind}">{head}<dd>{prose(entry.doc, level)}\n{inside}</dd></dl>'


def content(article: Article) -> str:
    """The main content of the page of an article."""
    entry = article.entry
    html = [f"<h1>{escape(entry.name)}</h1>"]
    if entry.kind != "module":
        keyword = "class " if entry.kind == "class" else ""
        html.append(f'<p class="sig"><code>{keyword}{escape(entry.name + entry.signature)}</code></p>')
    html.append(prose(entry.doc, 2))
    if article.elsewhere:
        rows = "".join(
            f'<tr><td><a href="{escape(member.name)}.html"><code>{escape(member.name)}</code></a></td>'
            f"<td>{inline(summary(member.doc))}</td></tr>"
            for member in article.elsewhere
        )
        html.append(f'<h2>Contents</h2><table class="autosummary">{rows}</table>')
    for kind, title in (
        ("class", "Classes"),
        ("function", "Methods" if entry.kind == "class" else "Functions"),
    ):
        members = [member for member in entry.members if member.kind == kind]
        if members:
            html.append(f"<h2>{title}</h2>")
            html.extend(_member(member, 3) for member in members)
    return "\n".join(html)

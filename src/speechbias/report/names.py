"""Names as the corpora and the user wrote them, made safe for plain text, Markdown, LaTeX and HTML.

Sentences of the report mark every name with two private-use characters (``named``); a renderer (``as_plain``,
``as_markdown``, ``as_html``) escapes what lies between them. Everything outside the marks is our own text.
Paths of the user's machine and names of audio files, which often carry a speaker's name, never pass.
"""

import re
from pathlib import PurePosixPath, PureWindowsPath

from markupsafe import Markup, escape

OPEN, CLOSE = "\ue000", "\ue001"  # around a name within a sentence
MARKED = re.compile(f"{OPEN}(.*?){CLOSE}", re.DOTALL)
UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ue000\ue001\ufffe\uffff\ud800-\udfff]+"
)
AUDIO_FILE = re.compile(r"[^\s'\",;:()\[\]]+\.(?:wav|flac|mp3|ogg|oga|opus|m4a|aac|aiff?|sph|au)\b", re.IGNORECASE)
ABSOLUTE = re.compile(r"(?<![\w.~/:])(?:file://|~?/|[A-Za-z]:[\\/]|\\\\)[^\s'\",;()\[\]]*[\\/][^\s'\",;()\[\]]+")
TOGETHER = re.compile(r"(?<=\w) (?==|%|&lt;)|(?<==) |(?<=&lt;) |(?<=\d) (?=to )|(?<=\bto) (?=-?\d)")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}", '"': r"{\char34}",
}  # fmt: skip
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&!^])")


def clean(name: str) -> str:
    """One line without control characters, marks and bidirectional overrides."""
    return " ".join(UNSEEN.sub(" ", name).split())


def shorten(name: str, *, limit: int) -> str:
    """At most ``limit`` characters; the middle goes, as the two ends tell models apart."""
    if len(name) <= limit:
        return name
    head = (limit - 1) // 2
    return f"{name[:head].rstrip()}…{name[head + 1 - limit :].lstrip()}"


def model_name(model: str) -> str:
    """How a model is called in a report: a path loses its folders, a hub id or another name stays."""
    name = clean(model)
    if re.match(r"[A-Za-z]:[\\/]|\\\\", name):
        return PureWindowsPath(name).name or name
    return PurePosixPath(name).name or "model" if name.startswith(("/", "./", "../", "~")) else name


def redact(text: str) -> str:
    """Free text without absolute paths and without names of audio files."""
    return ABSOLUTE.sub("[path]", AUDIO_FILE.sub("[file]", clean(text)))


def named(name: str) -> str:
    """Mark a name within a sentence."""
    return f"{OPEN}{clean(name)}{CLOSE}"


def as_plain(sentence: str) -> str:
    """Return the sentence without marks."""
    return MARKED.sub(r"\1", sentence)


def as_markdown(sentence: str) -> str:
    """Return the sentence with its names escaped and in italics."""
    return MARKED.sub(lambda match: f"*{escape_markdown(match[1])}*", sentence)


def as_html(sentence: str) -> Markup:
    """Return the sentence escaped, its names in ``<b>``, which here means a name, and numbers kept on one line."""
    text = TOGETHER.sub("\N{NO-BREAK SPACE}", str(escape(sentence)))
    return Markup(MARKED.sub(r"<b>\1</b>", text))  # noqa: S704 - all of it was escaped just now


def escape_markdown(name: str) -> str:
    """A name within Markdown text or a cell of a Markdown table."""
    return MARKDOWN.sub(r"\\\1", clean(name)).replace("://", r":\/\/")


def escape_latex(name: str) -> str:
    """A name within LaTeX text; letters beyond ASCII stay, as every LaTeX of today reads UTF-8."""
    return "".join(LATEX.get(letter, letter) for letter in clean(name))

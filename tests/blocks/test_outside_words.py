"""Words from outside are text wherever they are shown."""

from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from blocks.outside_words import (
    for_json,
    for_log,
    for_markdown,
    for_terminal,
    out_of_markdown,
    plain,
    plain_data,
)
from tests.cases import each_case

ATTACKS = {
    "colours": "\x1b[31mred\x1b[0m",
    "a link by OSC 8": "\x1b]8;;https://evil.example/\x07click\x1b]8;;\x07",
    "the window's title": "\x1b]0;owned\x1b\\",
    "the clipboard by OSC 52": "\x1b]52;c;aGk=\x07",
    "C1": "\x9b31mred\x9d0;owned\x9c",
    "a line written over": "paid 9.00\rpaid 0.00",
    "backspaces": "bad\b\b\bgood",
    "NUL": "a\x00b",
    "delete": "a\x7fb",
    "right to left": "cod\u202excod.exe\u2066\u2069",
    "nobody sees it": "pay\u200bpal\u2060\ufeff\u00ad\u200e",
    "tag characters": "hi\U000e0068\U000e0069",
    "half an emoji": "a\ud83d b",
}


@each_case("words", ATTACKS.values())
def test_nothing_steers_a_terminal(words: str) -> None:
    for show in (plain, for_terminal):
        shown = show(words)
        assert not re.search(
            "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200e\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]", shown
        )
        assert "\U000e0068" not in shown
        shown.encode()
        assert show(shown) == shown
    assert "\n" not in plain(f"{words}\n{words}")


@each_case(
    "words",
    ["plain words", "Straße – 東京 #陶芸", "می\u200cخواهم", "क्\u200dष", "עברית العربية", "👩\u200d👩\u200d👧 ❤️ 1️⃣"],
)  # fmt: skip
def test_words_that_do_no_harm_stay(words: str) -> None:
    assert plain(words) == for_terminal(words) == words


def test_a_line_is_one_line_and_a_text_keeps_its_lines() -> None:
    assert plain("a\r\nb\tc\u2028d\x0be  f") == "a b c d e f"
    assert for_terminal("a\r\nb\tc\nd") == "a\nb c\nd"


def test_no_address_in_a_log_becomes_a_link() -> None:
    said = for_log("see https://e.com/a, www.e.com\nor a@e.com and @you")
    assert said == "see https: //e.com/a, www. e.com or a @e.com and @you"
    assert for_log("Mailto:a HTTP://E.COM 10:30 a.b") == "Mailto: a HTTP: //E.COM 10:30 a.b"


def test_data_of_an_event() -> None:
    said = {"a\x1b": ["b\x00", {"c": "d\u202e"}], "n": 1, "none": None, "true": True}
    assert plain_data(said) == {"a␛": ["b␀", {"c": "d�"}], "n": 1, "none": None, "true": True}


MARKDOWN = [
    "![](https://evil.example/a.png)",
    "![x][y] [y]: https://evil.example",
    "[click](https://evil.example)",
    "[a]: https://evil.example 'b'",
    "<img src=https://evil.example/a.png>",
    "<https://evil.example>",
    "&lt;img src=x&gt; &#60;b&#62;",
    "https://evil.example www.evil.example somebody@evil.example mailto:a@evil.example WWW.evil.example",
    "HTTPS://evil.example/a.png",
    "# heading",
    "- item",
    "+ item",
    "1. item",
    "1) item",
    "> quote",
    "=== ",
    "---",
    "| a | b |",
    "`code` ``more`` ```fence",
    "`tagtrail x` `![](https://evil.example)` \\`tagtrail y`",
    "a\n\n# heading\n\n![](https://evil.example/a.png)",
    "*bold* _it_ ~~gone~~ **x**",
    "\\![](https://evil.example)",
    "\\\\![](https://evil.example)",
    "$x$ &amp; &copy;",
    "![a](x) `tagtrail status",
    "`tagtrail status`![](https://evil.example)`",
]


def rendered(markdown: str) -> str:
    return str(MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(markdown))


@each_case("words", MARKDOWN)
@each_case("around", ["## {}", "- {}", "{}", "| a |\n|---|\n| {} |", "`tagtrail x` {}"])
def test_no_markup_comes_of_words(words: str, around: str) -> None:
    page = rendered(around.format(for_markdown(words)))
    calm = rendered(around.format("WORDS"))
    tags = re.findall(r"<[^>]*>", page)
    own = [tag for tag in tags if tag not in ("<code>", "</code>")]
    assert own == [tag for tag in re.findall(r"<[^>]*>", calm) if tag not in ("<code>", "</code>")]
    assert not re.search(r"(?i)\b(?:https?|ftp)://|\bwww\.\w|\w@\w", re.sub(r"<code>.*?</code>", "", page))


def test_words_are_read_as_they_are() -> None:
    assert rendered(for_markdown('code 0001: "a_b *c* <d> [e] | f & g" 1.5')) == (
        "<p>code 0001: &quot;a_b *c* &lt;d&gt; [e] | f &amp; g&quot; 1.5</p>\n"
    )
    assert (
        rendered(for_markdown("see `tagtrail export imports`")) == "<p>see <code>tagtrail export imports</code></p>\n"
    )


@given(st.text() | st.text("\\_*`|-1. ab"))
def test_words_can_be_searched_for(words: str) -> None:
    assert out_of_markdown(for_markdown(words)).replace("\\", "") == for_log(words).replace("\\", "")


@given(st.text() | st.text("`\\*_[]()!<>#&|~-+=1.:/ \n@wht"))
def test_any_words_are_one_paragraph_of_text(words: str) -> None:
    page = rendered(f"x {for_markdown(words)}")
    assert re.sub(r"</?code>", "", page).count("<") == 2
    assert page.startswith("<p>x")


@given(st.text() | st.text("<>&\"'\x00\x1b\u202e"))
def test_json_holds_nothing_that_steers(words: str) -> None:
    document = json.dumps({"a": words}, ensure_ascii=False)
    assert json.loads(for_json(document)) == {"a": words}
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", for_json(document))


def test_a_console_of_ours_shows_words_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.table import Table
    from rich.text import Text

    from deployments.cli import terminal

    class Utf8(io.StringIO):
        encoding = "utf-8"

    out = Utf8()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", out)
    table = Table("caption")
    for words in ATTACKS.values():
        terminal.results().print(Text(words))
        terminal.diagnostics().print(Text(words), soft_wrap=True)
        terminal.tell(words)
        terminal.say(words)
        terminal.write_json({"words": words})
        table.add_row(Text(words))
    terminal.results().print(table)
    terminal.tell_trace(ValueError(ATTACKS["colours"]))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out.getvalue())
    assert "␛[31mred" in out.getvalue()
    # The styles of a terminal are rich's own.
    console = type(terminal.results())(file=out, force_terminal=True, color_system="standard", legacy_windows=False)
    with console.capture() as capture:
        console.print(Text("\x1b[31mred", style="bold"))
    assert capture.get() == "\x1b[1m␛[31mred\x1b[0m\n"
    assert isinstance(console, Console)


def test_the_table_of_posts_shows_words_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from blocks.database.tables import Post
    from deployments.cli import terminal
    from deployments.cli.posts_table import posts_table

    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    words = "\x1b]8;;https://evil.example/\x07[bold]a\x1b[31m\u202e\nb"
    post = Post(
        platform="x", post_id="1", url="https://x.com/i/status/1\x1b]0;owned\x07", status="enriched",
        author_username=words, caption=words, shortcode="A\x9b31m", plays=1,
    )  # fmt: skip
    console = type(terminal.results())(file=out, force_terminal=True, width=160, legacy_windows=False)
    console.print(posts_table([post], width=160))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    assert "A�31m" in shown
    assert "@␛]8;;https://evil.…" in shown
    assert "␛]8;;https://evil.example…" in shown


def test_an_export_shows_a_terminal_text_and_gives_a_pipe_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.cli.writers import write_rows

    for terminal in (True, False):
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
        monkeypatch.setattr(out, "isatty", lambda terminal=terminal: terminal, raising=False)
        monkeypatch.setattr("sys.stdout", out)
        write_rows([{"caption": "\x1b[31ma\u202e"}], ["caption"], "csv", None)
        written = out.buffer.getvalue().decode()
        assert written == ("caption\n␛[31ma�\n" if terminal else "caption\n\x1b[31ma\u202e\n")

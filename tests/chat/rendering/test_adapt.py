from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acpbot.chat.rendering.adapt import RULE, Adapter, adapt
from acpbot.chat.rendering.live_message import LiveMessage
from tests.support.message_bodies import feed

SAME = [
    "# One\n## Two\n### Three\n#hash\n",
    "```py\n#### no\n- [ ] no\n$$\nx\n$$\n```\n",
    "    #### code by indentation\n",
    "- item\n\n      - [ ] code in an item\n",
    "> ```\n> #### code in a quote\n> - [ ] no\n> ```\n",
    "`<kbd>x</kbd>` and ``![a](b) ` c`` and `$x^2$`\n",
    "code `that goes on\n<kbd>here</kbd>` ends\n",
    r"\<kbd>x\</kbd> \![a](b) \$x^2\$ \[^1]" + "\n",
    "[text](https://a.b/c_(d)?x=<sub>) and <https://a.b/$x^2$>\n",
    "[text](https://a.b/$x^2$) https://a.b/&lt;x\n",
    "It costs $5, or $10. $HOME/a_b and $PATH stay, and so does $a$b.\n",
    r"A regular expression such as a\(b\) stays." + "\n",
    "[^a-z] [note] [a][b] ![x] [ref]: no address\n",
    "<@123> <#4> <t:5:R> <:name:6> a < b > c <div> x & y &amp;lt;\n",
    "<kbd>open, $$ open, \\( open, ![open](, [open](x, <!-- open\n",
    "*** not a rule\n-- text\n",
    "<!-- never closed\ntext\n",
    "$$\nnever closed\n",
]

SHOWN = [
    ("~~~\n> > no\n![no](x)\n~~~\n", "```\n> > no\n![no](x)\n```\n"),
    ("- ~~~~ sh title\n  ~~~\n  ~~~~~\n", "- ```sh\n  ~~~\n  ```\n"),
    ("> ~~~py\n> x = 1\n> ~~~\n", "> ```py\n> x = 1\n> ```\n"),
    ("````md\n```py\nx\n```\n````\nend\n", "```md\n`\u200b``py\nx\n`\u200b``\n```\nend\n"),
    ("```md\n```py\nx ``` y\n```\nend\n", "```md\n`\u200b``py\nx `\u200b`` y\n```\nend\n"),
    ("#### Four\n", "**Four**\n"),
    ("###### Six **bold** `a**b` ##\n", "**Six bold `a**b`**\n"),
    ("- #### In an item\n", "- **In an item**\n"),
    ("> ##### In a quote\n", "> **In a quote**\n"),
    ("## Closed ##\n", "## Closed\n"),
    ("Title\n=====\ntext\n", "# Title\ntext\n"),
    ("Title `x`\n---\n", "## Title `x`\n"),
    ("> Title\n> ---\n", "> ## Title\n"),
    ("one\ntwo\n---\n", f"one\ntwo\n{RULE}\n"),
    ("\n---\n", f"\n{RULE}\n"),
    ("* * *\n___\n<hr>\n", f"{RULE}\n" * 3),
    ("- [ ] a\n  * [x] b\n1. [X] c\n+ d\n", "- ☐ a\n  * ☑ b\n1. ☑ c\n- d\n"),
    (">a\n> > b\n>>> c\n>\n> d\n", "> a\n> │ b\n> │ │ c\n> \n> d\n"),
    ("> [!WARNING]\n> Hot.\n", "> **Warning**\n> Hot.\n"),
    ('![alt](https://a.b/c_(d).png "t")\n', '[alt](https://a.b/c_(d).png "t")\n'),
    ("![](https://a.b)\n", "[image](https://a.b)\n"),
    ("[![b](https://i)](https://l)\n", "[b](https://l) ([image](https://i))\n"),
    ('<img width="1" src="https://a.b" alt="pic">\n', "[pic](https://a.b)\n"),
    ('<a href="https://a.b">text</a>\n', "[text](https://a.b)\n"),
    ("<details>\n<summary>More <i>info</i></summary>\n\nx\n\n</details>\n", "**More *info***\n\nx\n\n"),
    ("<details><summary>S</summary>x</details>\n", "**S** x\n"),
    ("<details open>\n<summary>\nS\n</summary>\n", "S\n"),
    ("<kbd>Ctrl</kbd>+<KBD>C</KBD>\n", "`Ctrl`+`C`\n"),
    ("<code>&lt;b&gt;</code> <b>x <i>y</i></b>\n", "`<b>` **x *y***\n"),
    ("one<br>two<br/>- three\n", "one\ntwo - three\n"),
    ("> one<br>two\n", "> one\n> two\n"),
    ("- one<br>two\n", "- one\n  two\n"),
    ("H<sub>2</sub>O x<sup>-2</sup> a<sub>max</sub> 1<sup>a b</sup>\n", "H₂O x⁻² a\\_max 1^(a b)\n"),
    ("a<!-- b -->c\n<!-- d -->\n<!--\ne\n-->\nf\n", "ac\nf\n"),
    ("x[^1] y[^n]\n\n[^1]: One.\n[^n]: Named.\n", "x¹ y[^n]\n\n-# ¹ One.\n-# [^n]: Named.\n"),
    ("$$\n\\frac{a}{b}\n$$\n", "```latex\n\\frac{a}{b}\n```\n"),
    ("\\[\na = b\n\\]\n", "```latex\na = b\n```\n"),
    ("So \\[ x^2 = 4 \\], but \\[x\\] and \\[a note\\].\n", "So `x^2 = 4`, but \\[x\\] and \\[a note\\].\n"),
    ("$$ a = b $$ and \\( x \\) and $E=mc^2$, $n$\n", "`a = b` and `x` and `E=mc^2`, `n`\n"),
    ("[r]: https://a.b/c\n[t][R], [r] and [r][]\n", "-# [r]: https://a.b/c\n[t](https://a.b/c), [r](https://a.b/c) and [r](https://a.b/c)\n"),
    ("<me@a.bc> &lt;x&gt; &amp;&nbsp;&quot;\n", 'me@a.bc \\<x\\> &\xa0"\n'),
    ("```\nx\n```\n#### After\n", "```\nx\n```\n**After**\n"),
]  # fmt: skip


@pytest.mark.parametrize("text", SAME)
def test_what_discord_draws_and_code_stay_as_they_are(text):
    assert adapt(text, "code") == text


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_what_discord_does_not_draw_becomes_the_nearest_thing(text, shown):
    assert adapt(text, "code") == shown
    assert adapt(text.replace("\n", "\r\n"), "code").replace("\r", "") == shown
    assert adapt(text.removesuffix("\n"), "code").rstrip("\n") == shown.rstrip("\n")


blocks = st.sampled_from([*SAME, *(text for text, _ in SHOWN), "\n", "plain words\n", "|a|`b|c`|\n|-|-|\n|d|e|f|\n"])
documents = st.lists(blocks, max_size=6).map("".join)
odd = st.text(alphabet="ab`$<>[](){}!\\|-=#*_~ \n.:/&;^1", max_size=120)


@settings(max_examples=50)
@given(documents | odd, st.lists(st.integers(0, 300), max_size=10), st.sampled_from(["code", "bullets", "off"]))
def test_chunks_make_no_difference(text, cuts, mode):
    at = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    for parts in ([text[a:b] for a, b in itertools.pairwise(at)], list(text)):
        adapter = Adapter(mode)
        assert "".join(["".join(adapter.feed(part)) for part in parts]) + adapter.finish() == adapt(text, mode)


@settings(max_examples=50)
@given(documents)
def test_converted_text_stays_as_it_is(text):
    once = adapt(text, "code")
    assert adapt(once, "code") == once


words = st.sampled_from(["alpha", "beta", "gamma", "`delta|x`", "**epsilon**", "zeta\\|", "[omega](https://a.b)"])
frames = st.sampled_from(
    [
        *("#### {}\n", "{}\n===\n", "- [ ] {}\n", "> > {}\n", "![{}](https://a.b)\n", "<kbd>{}</kbd>\n", "{}[^1]\n"),
        *("<details><summary>{}</summary>\n", "{}</details>\n", "a<br>{}\n", "$$\n{}\n$$\n", "<b>{}</b>\n", "{}\n\n"),
        *("[^1]: {}\n", "```\n{}\n```\n", "| {} | b |\n|--|--|\n", "| 1 | {} | 2 |\n", "\\({}\\)\n", "<sup>{}</sup>\n"),
    ]
)


@settings(max_examples=50)
@given(st.lists(st.builds(str.replace, frames, st.just("{}"), words), max_size=8).map("".join))
def test_no_word_is_lost(text):
    shown = adapt(text, "code")
    for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "omega"):
        assert len(re.findall(word, shown)) == len(re.findall(word, text))


def test_a_growing_text_is_shown_as_if_it_ended_now():
    live = LiveMessage(tables="code")
    shown = []
    for chunk in ["Look", " here", "\n#### Ti", "tle\n| a |\n", "|--", "-|\n| 1 |", "\nend\n", "<kbd>x"]:
        live.append(chunk)
        shown.append(live.bodies()[0])
    table = "Look here\n**Title**\n```\na\n─\n"
    assert shown == [
        *("Look", "Look here", "Look here\n**Ti**", "Look here\n**Title**\n| a |", f"{table}```"),
        *(f"{table}1\n```", f"{table}1\n```\nend", f"{table}1\n```\nend\n<kbd>x"),
    ]


def test_a_long_line_is_shown_and_converted_in_parts():
    line = "many words with <kbd>x</kbd> in a line " * 500
    adapter = Adapter("code")
    shown = "".join(adapter.feed(line))
    assert len(adapter.held) <= 4000
    assert shown.startswith("many words with `x` in a line many")
    assert "<kbd>" not in shown + adapter.finish()
    assert adapt("`" + "x " * 5000 + "`<kbd>y</kbd>", "code") == "`" + "x " * 5000 + "``y`"


def test_a_link_by_name_is_complete_at_the_end_where_its_address_comes_later():
    live = feed(list("See [this][r] and [r].\n\n[r]: https://a.b/c\n"), tables="code")
    assert live.bodies()[0].startswith("See [this][r] and [r].")
    live.finish()
    assert live.bodies() == ["See [this](https://a.b/c) and [r](https://a.b/c).\n\n-# [r]: https://a.b/c"]


def test_what_goes_to_the_file_is_not_converted():
    line = "#### Title\n" + "words " * 30 + "\n"
    live = feed([line * 300], tables="code")
    live.finish()
    assert "####" not in "".join(live.bodies())
    overflow = live.overflow()
    assert overflow is not None
    assert overflow.count("####") > 200
    assert feed(list(line * 100), tables="code").parts() == feed([line * 100], tables="code").parts()


@pytest.mark.parametrize(
    "text", ["\n" * 2000, "<!--\n" + "x\n" * 300_000 + "-->", "<kbd>" * 100_000, "a | b\n" * 90_000]
)
def test_only_a_bounded_part_of_a_text_is_converted(text):
    live = LiveMessage(tables="code")
    live.append(text * (500_000 // len(text) + 1))
    adapter = Adapter("code")
    for _ in adapter.feed(text):
        if adapter.work > 40_000:
            break
    assert adapter.work < 50_000

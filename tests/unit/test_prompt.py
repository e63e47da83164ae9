"""Prompts: adapters asked for by tags, emphasis by brackets, and nothing lost between them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sakuga.errors import JobError
from sakuga.spec.job import Stage
from sakuga.spec.prompt import parse_emphasis, split_prompt, tags_left
from sakuga.spec.uses import LoraUse
from sakuga.spec.vary import Auto, Curve


@pytest.mark.parametrize(
    ("tag", "use"),
    [
        ("<lora:ink>", LoraUse(file="ink")),
        ("<lora:ink:0.8>", LoraUse(file="ink", weight=0.8)),
        ("<lyco:ink:0.8>", LoraUse(file="ink", weight=0.8)),
        ("<lora:my ink v1.5:0.8>", LoraUse(file="my ink v1.5", weight=0.8)),
        ("<lora:ink:0.5:0.9>", LoraUse(file="ink", weight=0.9, text_encoder_weight=0.5)),
        ("<lora:ink:0.5:0.5>", LoraUse(file="ink", weight=0.5)),
        ("<lora:ink:te=0.2:unet=0.9>", LoraUse(file="ink", weight=0.9, text_encoder_weight=0.2)),
        ("<lora:ink:te=0.2>", LoraUse(file="ink", weight=0.2)),  # the UNet follows the text encoder, as in A1111
        ("<lora:ink:unet=0.9>", LoraUse(file="ink", weight=0.9, text_encoder_weight=1)),
        ("<lora:ink:0.3:unet=0.9>", LoraUse(file="ink", weight=0.9, text_encoder_weight=0.3)),
        ("<lora:ink:auto>", LoraUse(file="ink", weight=Auto())),
        ("<lora:ink:0->1>", LoraUse(file="ink", weight=Curve(points=((0, 0), (1, 1))))),
        ("<lora:ink-:0.1>", LoraUse(file="ink-", weight=0.1)),
    ],
)
def test_a_tag_becomes_an_adapter(tag: str, use: LoraUse) -> None:
    assert split_prompt(f"a cat {tag}, flat") == ("a cat , flat", (use,))


def test_several_tags_keep_their_order_and_the_text_its_words() -> None:
    text, uses = split_prompt("<lora:a:1>flat (colours:1.2)<lora:b:0.5>")
    assert text == "flat (colours:1.2)"
    assert [use.file for use in uses] == ["a", "b"]


def test_a_text_without_tags_is_left_alone() -> None:
    assert split_prompt("  a <3 b > c ") == ("  a <3 b > c ", ())


@pytest.mark.parametrize(
    "tag",
    [
        "<lora:>",
        "<lora: :1>",
        "<lora:ink:>",
        "<lora:ink:50>",
        "<lora:ink:nan>",
        "<lora:ink:yes>",
        "<lora:ink:1:2:3>",
        "<lora:ink:1:dyn=4>",
        "<lora:ink:1:lbwe=ALL>",
        "<lora:ink:te=1:te=2>",
        "<lora:ink:te=>",
        "<lora:ink:1",
        "<lora:ink:1 and more words",
        "lora:ink:1>",
        "< lora : ink : 1 >",
        "<lora>",
        "<LORA:ink:1>",
    ],
)
def test_a_broken_tag_is_told(tag: str) -> None:
    with pytest.raises(JobError):
        split_prompt(f"a {tag}")


def test_an_arrow_between_spaces_does_not_end_a_tag() -> None:
    (use,) = split_prompt("a cat <lora:ink:0s:0 -> 2s:1>")[1]
    assert use == split_prompt("a cat <lora:ink:0s:0 → 2s:1>")[1][0]


def test_words_about_lora_are_words() -> None:
    text = "a lora of Flora, lyco: a < b, LoRA"
    assert split_prompt(text) == (text, ())


def test_other_tags_stay_and_are_named() -> None:
    text, uses = split_prompt("a <hypernet:x:1> b <lora:ink> 1<2>")
    assert text == "a <hypernet:x:1> b  1<2>"
    assert len(uses) == 1
    assert tags_left(text) == ("<hypernet:x:1>",)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", [("", 1)]),
        ("a cat", [("a cat", 1)]),
        ("(a)", [("a", 1.1)]),
        ("[a]", [("a", 1 / 1.1)]),
        ("((a))", [("a", 1.1 * 1.1)]),
        ("a (red:1.5) cat", [("a ", 1), ("red", 1.5), (" cat", 1)]),
        ("a (red : 1.5 ) cat", [("a ", 1), ("red ", 1.5), (" cat", 1)]),
        ("(a (b:1.5) c)", [("a ", 1.1), ("b", 1.5 * 1.1), (" c", 1.1)]),
        ("(a [b] c:2)", [("a ", 2), ("b", 2 / 1.1), (" c", 2)]),
        (r"\(a\) \[b\] \\ \c", [(r"(a) [b] \ \c", 1)]),
        (r"(a \(b\):1.3)", [("a (b)", 1.3)]),
        ("(a", [("a", 1.1)]),
        ("[a (b", [("a ", 1 / 1.1), ("b", 1.1 / 1.1)]),
        ("a)", [("a)", 1)]),
        ("a]:1.2)", [("a]:1.2)", 1)]),
        ("a:1.2", [("a:1.2", 1)]),
        ("(a:1.2", [("a:1.2", 1.1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a:b:0)", [("a:b", 0)]),
        ("(a:-0.5)", [("a", -0.5)]),
        ("()", [("", 1)]),
    ],
)
def test_emphasis(text: str, pieces: list[tuple[str, float]]) -> None:
    found = parse_emphasis(text)
    assert [piece for piece, _ in found] == [piece for piece, _ in pieces]
    assert [strength for _, strength in found] == pytest.approx([strength for _, strength in pieces])


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "a" + ")" * 5000, "((a:15):15)", "(a:" + "9" * 500 + ")", "(" * 40 + "a"]
)
def test_a_strength_beyond_reason_is_told(text: str) -> None:
    with pytest.raises(JobError, match="prompt"):
        parse_emphasis(text)


@settings(deadline=None)
@given(st.text(alphabet="ab:.1 ()[]\\<>", max_size=40))
def test_no_letter_that_is_not_syntax_is_lost(text: str) -> None:
    found = parse_emphasis(text)
    letters = "".join(piece for piece, _ in found)
    assert [one for one in letters if one in "ab<>"] == [one for one in text if one in "ab<>"]
    assert all(first[1] != second[1] for first, second in pairwise(found))


def test_a_prompt_that_is_too_long_says_how_long_it_may_be() -> None:
    with pytest.raises(JobError, match="a prompt is too long") as caught:
        Stage(negative_prompt="x" * 200_000)
    assert caught.value.place == "negative_prompt"
    assert caught.value.expected == "at most 10,000 characters"
    assert str(caught.value.given).startswith("200,000 characters: ")

"""New text is told from repeated text, whichever of the two the service sends."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from llama_dashscope._protocol.deltas import SURE_AFTER, DeltaDetector

texts = st.lists(st.text(st.sampled_from("a`{你"), max_size=3), min_size=1, max_size=12)
"""Pieces of a text; few characters, so that pieces often repeat each other."""


def deltas(frames: list[str], *, incremental: bool) -> list[str]:
    """Run a stream to its end and return its deltas."""
    reader = DeltaDetector(incremental=incremental)
    last = len(frames) - 1
    found = [
        delta for at, text in enumerate(frames) for delta in reader.take(text, last=at == last)
    ]
    assert reader.held() == []
    return found


def growing(frames: list[str]) -> int:
    """Count how many frames in a row, from the first with text, extend the one before."""
    begun = frames[next((at for at, text in enumerate(frames) if text), len(frames)) :]
    count = 0
    for before, after in pairwise(begun):
        if before == after or not after.startswith(before):
            break
        count += 1
    return count


@given(texts)
@example(["`", "`", "`"])
@example(["ha", "ha", "haha"])
@example(["", "a", "ab"])
@example(["a", "aa", "aaa", "aaaa", "b"])
def test_pieces_as_asked(pieces: list[str]) -> None:
    """Pieces pass as they are, also those that repeat or extend each other."""
    assume(growing(pieces) < SURE_AFTER)

    assert deltas([*pieces, ""], incremental=True) == [*pieces, ""]


@given(texts)
@example(["a", "ba"])
@example(["a", "b", "a"])
def test_pieces_of_which_the_last_ends_the_answer(pieces: list[str]) -> None:
    """The end of an answer may come with text too, unless that begins with all the text so far."""
    begun = [piece for piece in pieces if piece]
    assume(not begun or growing(pieces) < len(begun) - 1)
    repeats = len(begun) > 1 and begun[-1] == begun[-2]
    assume(not repeats or growing(pieces) < len(begun) - 2)

    assert deltas(pieces, incremental=True) == pieces


@given(texts, st.sampled_from(["again", "empty", "no"]))
@example(["`", "`", "`"], "again")
def test_wholes_as_asked(pieces: list[str], last: str) -> None:
    """Wholes give the pieces that they grew by, also where those repeat a character."""
    wholes = list(accumulate(pieces))
    end = {"again": wholes[-1:], "empty": [""], "no": []}[last]

    assert deltas([*wholes, *end], incremental=False) == [*pieces, *("" for _ in end)]


@given(texts)
@example(["a", "`", "`", "`", "`"])
def test_wholes_though_pieces_were_asked_for(pieces: list[str]) -> None:
    """A model that ignores the wish is found out, and no text is doubled."""
    pieces = [piece for piece in pieces if piece]
    assume(pieces)
    wholes = list(accumulate(pieces))

    assert deltas(wholes, incremental=True) == pieces
    assert deltas([*wholes, wholes[-1]], incremental=True) == [*pieces, ""]


@given(texts)
def test_pieces_though_wholes_were_asked_for(pieces: list[str]) -> None:
    """A service that sends pieces all the same is found out at the second piece."""
    pieces = [piece for piece in pieces if piece]
    assume(len(pieces) == 1 or not pieces[1].startswith(pieces[0]) if pieces else False)

    assert deltas([*pieces, ""], incremental=False) == [*pieces, ""]


@given(texts)
def test_nobody_asked_for_either(frames: list[str]) -> None:
    """What comes unasked is never an error: each frame is all the text so far, or a piece."""
    detector = DeltaDetector(incremental=None)
    said = ""

    for frame in frames:
        said += "".join(detector.take(frame))

        assert said.endswith(frame)


@given(texts, st.booleans())
def test_both_modes_of_the_same_text(pieces: list[str], end: bool) -> None:
    """Chunks are the same whether frames come as pieces or as wholes."""
    assume(growing(pieces) < SURE_AFTER)
    wholes = list(accumulate(pieces))

    assert deltas([*pieces, ""], incremental=True) == deltas(
        [*wholes, wholes[-1] if end else ""], incremental=False
    )


@given(texts, st.booleans())
def test_one_delta_for_each_frame(frames: list[str], incremental: bool) -> None:
    """Whatever comes, each frame has its delta by the end, or the stream is refused."""
    try:
        found = deltas(frames, incremental=incremental)
    except ValueError:
        return

    assert len(found) == len(frames)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (["Yes", "Yes"], ["Yes", ""]),
        (["Yes", "Yes, sir"], ["Yes", ", sir"]),
        (["Yes", "Yes", ""], ["Yes", "Yes", ""]),
        (["a", "ab", "abc"], ["a", "b", "c"]),
        (["a", "ab", "ab"], ["a", "b", ""]),
        (["a", "ab", "abc", ""], ["a", "ab", "abc", ""]),
        (["a", "ab", "abc", "abcd", "abcde", ""], ["a", "b", "c", "d", "e", ""]),
        (["a", "ab", "abc", "abcd", "abcd", ""], ["a", "ab", "abc", "abcd", "abcd", ""]),
    ],
)
def test_where_the_line_is_drawn(frames: list[str], expected: list[str]) -> None:
    """An extension at the very end, or four in a row, are more than chance."""
    assert deltas(frames, incremental=True) == expected


def test_a_delta_waits_only_while_it_is_in_doubt() -> None:
    """Ordinary pieces are handed on as they come; a repeated beginning waits for one more frame."""
    reader = DeltaDetector(incremental=True)

    assert reader.take("ha") == ["ha"]
    assert reader.take("haha") == []
    assert reader.held() == ["haha"]
    assert reader.take("!") == ["haha", "!"]
    assert reader.take("!!") == ["!!"]
    assert reader.held() == []


def test_doubt_ends_after_a_few_frames() -> None:
    """So many frames that each extend all before them are wholes."""
    reader = DeltaDetector(incremental=True)
    wholes = ["a", "ab", "abc", "abcd", "abcde"]

    assert [reader.take(whole) for whole in wholes] == [["a"], [], [], [], ["b", "c", "d", "e"]]
    assert reader.take("abcdef") == ["f"]
    assert reader.take("") == [""]


CHANGED = "a frame of the stream does not continue the text of the frames before it"


@pytest.mark.parametrize("incremental", [True, False])
def test_wholes_that_contradict_each_other(incremental: bool) -> None:
    """A text that was changed after it was sent can't be taken back: that is an error."""
    frames = ["a", "ab", "abc", "abcd", "abcde", "xbcdef"]

    with pytest.raises(ValueError, match=f"^{CHANGED}$"):
        deltas(frames, incremental=incremental)

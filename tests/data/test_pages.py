"""Drawn pages: the same for everyone, each another one, and full of edges."""

import numpy as np

from course_lib.data.pages import SIDE, drawn_page


def test_a_page_is_always_the_same_and_no_other():
    first, again, other = drawn_page(3), drawn_page(3), drawn_page(4)
    assert first.mode == "RGB"
    assert first.size == (SIDE, SIDE)
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_pages_differ_in_paper_and_hold_fine_edges():
    pages = [np.asarray(drawn_page(number).convert("L"), dtype=float) for number in range(24)]
    papers = {int(np.median(page)) for page in pages}
    assert len(papers) > 6
    assert min(papers) < 64 < 192 < max(papers)
    for page in pages:
        steps = np.abs(np.diff(page, axis=1))
        assert 0.02 < (steps > 20).mean() < 0.5

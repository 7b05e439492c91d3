"""The conventions page names only tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
PAGE = TESTS.parent / "docs" / "conventions.md"


def test_every_test_named_on_the_conventions_page_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    defined = {
        name for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    assert len(named) > 40
    assert named <= defined, f"not defined anywhere: {sorted(named - defined)}"

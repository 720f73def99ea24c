import io

import pytest
from rich.console import Console

from nnpm.cli import failures
from nnpm.cli.output import Output, harmless, table
from nnpm.errors import InvalidArgument

EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202etxt.exe"
"""Sets the window's title, the colour, clears the screen, and turns what follows around."""


def test_what_strangers_wrote_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Output().done({}, EVIL)
    Output().note(EVIL)
    failures.report(InvalidArgument("INVALID_MODEL_FILE", EVIL, hint=EVIL), as_json=False)
    told = capsys.readouterr()
    drawn = io.StringIO()
    table(Console(file=drawn, width=200), ("DESCRIPTION",), [(EVIL,)])
    for text in (told.out, told.err, drawn.getvalue()):
        assert r"\x1b]0;owned\x07\x1b[31mred\x9b2J\u202etxt.exe" in text
        assert text.replace("\n", "").isprintable()


def test_ordinary_text_stays_as_it_is() -> None:
    text = "Größe\t3 µm\n日本語\u3000と👩\u200d🔬 [bold]"
    assert harmless(text) == text

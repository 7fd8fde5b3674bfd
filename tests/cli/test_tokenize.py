"""bifocal tokenize: pieces, spans and lines."""

from pathlib import Path

from conftest import Run, json_lines

TEXT = "A smiling woman, naïve café"


def test_pieces_cover_the_text(run: Run) -> None:
    (result,) = json_lines(run("tokenize", "--text", TEXT, "--json").stdout)
    assert result["pieces"][0] == "[CLS]"
    assert result["pieces"][-1] == "[SEP]"
    assert len(result["ids"]) == len(result["pieces"]) == len(result["spans"])
    encoded = TEXT.encode()
    shown = b"".join(encoded[begin:end] for begin, end in result["spans"])
    assert shown.decode() == TEXT.replace(" ", "")
    assert result["cut_tokens"] == 0


def test_the_table_shows_each_piece(run: Run) -> None:
    lines = run("tokenize", "--text", TEXT).stdout.splitlines()
    (result,) = json_lines(run("tokenize", "--text", TEXT, "--json").stdout)
    assert lines[0].split() == ["id", "piece", "bytes", "text"]
    assert [line.split()[:2] for line in lines[1:-1]] == [
        [str(number), piece] for number, piece in zip(result["ids"], result["pieces"], strict=True)
    ]
    assert lines[-1] == f"{len(result['ids'])} tokens, 0 cut"


def test_a_long_text_says_what_was_cut(run: Run) -> None:
    (result,) = json_lines(run("tokenize", "--text", "word " * 1000, "--json").stdout)
    assert len(result["ids"]) + result["cut_tokens"] == 1002
    assert result["pieces"][-1] == "[SEP]"


def test_every_line_has_an_answer(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\r\n\nbad \xff byte\nlast")
    done = run("tokenize", "--input", path, "--json", code=65)
    one, empty, bad, last = json_lines(done.stdout)
    assert one["pieces"] == ["[CLS]", "one", "[SEP]"]
    assert empty["pieces"] == ["[CLS]", "[SEP]"]
    assert bad["error"]["code"] == "invalid_text"
    assert last["id"] == "4"
    assert "3 done, 1 failed" in done.stderr


def test_standard_input_is_read_where_nothing_is_named(run: Run) -> None:
    expected = run("tokenize", "--text", TEXT).stdout
    assert run("tokenize", input=TEXT + "\n").stdout == expected
    assert run("tokenize", "--input", "-", input=TEXT).stdout == expected


def test_invalid_text_fails_the_command(run: Run) -> None:
    done = run("tokenize", "--text", b"\xff".decode("utf-8", "surrogateescape"), code=65)
    assert done.stdout == ""


def test_two_sources_are_one_too_many(run: Run) -> None:
    assert "not both" in run("tokenize", "--text", "a", "--input", "-", code=64).stderr

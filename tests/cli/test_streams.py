"""How the program behaves in a pipe, on a full disk and under Ctrl-C."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Run, json_lines, write_json_lines

COMMANDS_THAT_PRINT = [
    ["--help"],
    ["--version"],
    ["completion", "bash"],
    ["inspect"],
    ["tokenize", "--text", "a"],
    ["embed", "--text", "a"],
]


@pytest.mark.parametrize("arguments", COMMANDS_THAT_PRINT, ids=" ".join)
def test_a_full_disk_is_an_error(run: Run, arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = run(*arguments, stdout=full, code=74)
    assert "No space left" in done.stderr


def test_a_full_disk_under_output_is_an_error(run: Run) -> None:
    assert "/dev/full" in run("embed", "--text", "a", "--output", "/dev/full", code=74).stderr
    assert Path("/dev/full").is_char_device()


def test_output_to_a_device_leaves_it_in_place(run: Run) -> None:
    run("embed", "--text", "a", "--output", "/dev/null")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("ignored", [False, True], ids=["SIGPIPE", "EPIPE"])
def test_a_reader_that_leaves_ends_it_quietly(
    bifocal: Path, default_bundle: Path, tmp_path: Path, ignored: bool
) -> None:
    path = write_json_lines(tmp_path / "many.jsonl", ({"text": f"number {n}"} for n in range(600)))
    disposition = signal.SIG_IGN if ignored else signal.SIG_DFL
    with subprocess.Popen(
        [bifocal, "embed", "--input", path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, restore_signals=False,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, disposition),
    ) as process:  # fmt: skip
        assert process.stdout.readline().startswith(b'{"id":"1"')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=120) == (141 if ignored else -signal.SIGPIPE)


def start(bifocal: Path, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [bifocal, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_an_answer_comes_before_the_next_question(bifocal: Path, default_bundle: Path) -> None:
    """A program may write one record, read its result, and only then write the next."""
    with start(bifocal, "embed", "--input", "-") as process:
        for n in range(3):
            process.stdin.write(json.dumps({"id": n, "text": "a question"}) + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == n
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        assert "3 done, 0 failed" in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_whole_lines(
    bifocal: Path, default_bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "vectors.jsonl"
    output.write_text("the last run's\n")
    with start(bifocal, "embed", "--input", "-", "--output", output) as process:
        process.stdin.write('{"text": "one"}\n{"text": "two"}\n{"text": "half a rec')
        process.stdin.flush()
        partial = wait_for_two_lines(tmp_path)
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
        complaint = process.stderr.read()
    assert output.read_text() == "the last run's\n"
    assert "interrupted: 2 done" in complaint
    assert str(partial) in complaint
    assert [record["id"] for record in json_lines(partial.read_text())] == ["1", "2"]


def wait_for_two_lines(directory: Path) -> Path:
    import time

    for _ in range(1200):
        for path in directory.glob("vectors.jsonl.partial-*"):
            if path.read_text().count("\n") == 2:
                return path
        time.sleep(0.05)
    raise AssertionError("the two records that were written had no results")


def test_output_replaces_only_when_whole(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "target.jsonl"
    target.write_text("old\n")
    link = tmp_path / "link.jsonl"
    link.symlink_to(target)
    run("embed", "--text", "a", "--as", "image", "--output", link, code=65)
    assert target.read_text() == "old\n"
    run("embed", "--text", "a", "--output", link)
    assert link.is_symlink()
    assert len(json_lines(target.read_text())) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.jsonl", "target.jsonl"]


def test_nothing_but_results_on_standard_output(run: Run, tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "items.jsonl", [{"text": "a"}, {"text": "b"}])
    done = run("embed", "--input", path)
    assert len(json_lines(done.stdout)) == 2
    assert done.stderr == "bifocal: 2 done, 0 failed\n"
    assert run("embed", "--input", path, "--quiet").stderr == ""


def test_a_line_too_long_to_hold_costs_only_itself(run: Run) -> None:
    lines = ['{"text": "before"}', json.dumps({"text": "x" * 3_000_000}), '{"text": "after"}']
    done = run("embed", "--input", "-", "--max-bytes", 1000, input="\n".join(lines), code=65)
    before, long, after = json_lines(done.stdout)
    assert "embedding" in before
    assert "embedding" in after
    assert long["id"] is None
    assert "line 2 is longer" in long["error"]["message"]


def test_more_records_than_a_chunk(run: Run) -> None:
    lines = "".join(json.dumps({"text": f"word {n}"}) + "\n" for n in range(700))
    results = json_lines(run("embed", "--input", "-", input=lines).stdout)
    assert [result["id"] for result in results] == [str(n + 1) for n in range(700)]

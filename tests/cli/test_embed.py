"""bifocal embed: what comes out, in which order, and what a bad record does to its neighbours."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, data_uri, json_lines, one_vector, vectors, write_json_lines
from PIL import Image

CAPTION = "A smiling woman in an orange space suit"
BATCH_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def items(photos: Path) -> list[dict]:
    """Sides of every kind and texts of every length, so that batches have padding."""
    names = sorted(path.name for path in photos.iterdir() if path.suffix in {".jpg", ".png", ".webp"})
    records = [{"id": f"image {name}", "image": str(photos / name)} for name in names]
    records += [{"id": f"text {n}", "text": "old coins in a row " * n} for n in (1, 3, 9)]
    records += [
        {"id": f"both {n}", "image": str(photos / name), "text": CAPTION * (n + 1)}
        for n, name in enumerate(names[:4])
    ]
    return records


@pytest.fixture(scope="module")
def embedded(run: Run, items: list[dict], tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = write_json_lines(tmp_path_factory.mktemp("items") / "items.jsonl", items)
    return {r["id"]: np.array(r["embedding"]) for r in json_lines(run("embed", "--input", path).stdout)}


def test_order_is_kept(items: list[dict], embedded: dict) -> None:
    assert list(embedded) == [item["id"] for item in items]


def test_vectors_have_length_one(embedded: dict) -> None:
    for vector in embedded.values():
        assert vector.shape == (512,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["image", "text", "both"])
def test_batch_gives_what_an_item_gives_alone(run: Run, items: list[dict], embedded: dict, kind: str) -> None:
    item = [item for item in items if item["id"].startswith(kind)][-1]
    arguments = [f"--{side}={item[side]}" for side in ("image", "text") if side in item]
    alone = one_vector(run("embed", *arguments).stdout)
    np.testing.assert_allclose(embedded[item["id"]], alone, atol=BATCH_TOLERANCE)


def test_order_of_the_input_never_matters(run: Run, items: list[dict], embedded: dict, tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "reversed.jsonl", items[::-1])
    for record in json_lines(run("embed", "--input", path, "--threads", "1").stdout):
        np.testing.assert_allclose(record["embedding"], embedded[record["id"]], atol=BATCH_TOLERANCE)


def test_threads_that_share_an_item_give_the_same_vector(run: Run, photos: Path) -> None:
    item = ("embed", "--image", photos / "astronaut.jpg", "--text", CAPTION)
    assert run(*item, "--threads-per-worker", "2").stdout == run(*item, "--threads-per-worker", "1").stdout


@pytest.mark.parametrize("side", ["image", "text"])
def test_one_side_of_a_pair_is_that_side_alone(run: Run, photos: Path, side: str) -> None:
    both = {"image": photos / "astronaut.jpg", "text": CAPTION}
    asked = one_vector(
        run("embed", "--image", both["image"], "--text", both["text"], "--as", side).stdout
    )
    alone = one_vector(run("embed", f"--{side}", both[side]).stdout)
    np.testing.assert_allclose(asked, alone, atol=BATCH_TOLERANCE)


def test_fused_depends_on_both_sides(embedded: dict, photos: Path, run: Run) -> None:
    image = embedded["image astronaut.jpg"]
    fused = one_vector(run("embed", "--image", photos / "astronaut.jpg", "--text", CAPTION).stdout)
    text = one_vector(run("embed", "--text", CAPTION).stdout)
    assert np.abs(fused - image).max() > 1e-2
    assert np.abs(fused - text).max() > 1e-2


def test_captions_find_their_photographs(run: Run, source_dir: Path) -> None:
    """The examples are easy: nearly every photograph has its own caption nearest of all."""
    examples = source_dir / "examples" / "items.jsonl"
    images = vectors(run("embed", "--input", examples, "--as", "image").stdout)
    texts = vectors(run("embed", "--input", examples, "--as", "text").stdout)
    hits = (images @ texts.T).argmax(axis=1) == np.arange(len(images))
    assert hits.mean() >= 0.6


def test_numbers_read_back_as_the_same_floats(run: Run) -> None:
    line = run("embed", "--text", CAPTION).stdout
    for digits in line[line.index("[") + 1 : line.index("]")].split(","):
        shortest = np.format_float_positional(np.float32(digits), unique=True, trim="-")
        assert len(digits.lstrip("-")) <= max(len(shortest.lstrip("-")), 12)
        assert np.float32(float(digits)) == np.float32(shortest)


def test_a_bad_record_is_reported_in_its_place(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes((photos / "astronaut.jpg").read_bytes()[:400])
    (tmp_path / "notes.txt").write_text("not a picture")
    good = {"id": "good", "text": CAPTION}
    cases: list[tuple[dict | str, object, str]] = [
        ({"id": "absent", "image": "nowhere.jpg"}, "absent", "not_found"),
        ({"id": "directory", "image": "."}, "directory", "not_found"),
        ({"id": "broken", "image": "broken.jpg"}, "broken", "invalid_image"),
        ({"id": "notes", "image": "notes.txt"}, "notes", "unsupported_image"),
        ({"id": "web", "image": "https://example.org/cat.jpg"}, "web", "unsupported"),
        ({"id": "empty"}, "empty", "invalid_item"),
        ({"id": "blank", "text": "  "}, "blank", "invalid_text"),
        ({"id": "typo", "txt": "a"}, "typo", "invalid_item"),
        ({"id": "type", "text": 7}, "type", "invalid_item"),
        ({"id": "null", "text": None}, "null", "invalid_item"),
        ({"id": ["list"], "text": "a"}, None, "invalid_item"),
        ('{"id": "cut", "text": ', None, "invalid_item"),
        ('["not", "an", "object"]', None, "invalid_item"),
        ({"id": "bad uri", "image": "data:image/png;base64,@@@@"}, "bad uri", "invalid_item"),
        ({"id": "cut uri", "image": "data:image/png;base64,AAAAA"}, "cut uri", "invalid_item"),
        ({"id": "no comma", "image": "data:image/png;base64"}, "no comma", "invalid_item"),
        ({"id": "percent", "image": "data:image/png,%89PNG"}, "percent", "unsupported"),
    ]
    records: list[dict | str] = [good]
    for record, _, _ in cases:
        records += [record, good]
    path = write_json_lines(tmp_path / "items.jsonl", records)

    done = run("embed", "--input", path, code=65)
    results = json_lines(done.stdout)
    assert len(results) == len(records)
    for (_, identifier, code), result, line in zip(cases, results[1::2], range(2, 99, 2), strict=False):
        if identifier is None and "list" in records[line - 1]:
            identifier = str(line)
        assert result["error"]["code"] == code, result
        assert result["error"]["message"]
        if isinstance(identifier, str):
            assert result["id"] == identifier
    expected = results[0]["embedding"]
    for result in results[::2]:
        assert result["id"] == "good"
        np.testing.assert_allclose(result["embedding"], expected, atol=BATCH_TOLERANCE)
    assert f"{len(cases) + 1} done, {len(cases)} failed" in done.stderr


def test_a_malformed_line_has_no_id_and_names_its_number(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n{"text": "\xff\xfe"}\r\n{"id": 12, "text": "fine"}\n{"text": "last"}')
    first, broken, numbered, last = json_lines(run("embed", "--input", path, code=65).stdout)
    assert broken["id"] is None
    assert "line 3" in broken["error"]["message"]
    assert (first["id"], numbered["id"], last["id"]) == ("1", 12, "5")


def test_images_are_found_from_the_inputs_directory_or_from_here(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    shutil.copy(photos / "coffee.webp", tmp_path / "data" / "pictures" / "coffee.webp")
    record = {"id": "coffee", "image": "pictures/coffee.webp"}
    path = write_json_lines(tmp_path / "data" / "items.jsonl", [record])
    from_file = run("embed", "--input", path, cwd=tmp_path)
    from_stdin = run("embed", "--input", "-", input=json.dumps(record), cwd=tmp_path / "data")
    assert from_file.stdout == from_stdin.stdout


def test_a_data_uri_is_the_file(run: Run, photos: Path, tmp_path: Path) -> None:
    uri = data_uri(photos / "coffee.webp")
    head, body = uri.split(",")
    path = write_json_lines(
        tmp_path / "items.jsonl",
        [
            {"image": str(photos / "coffee.webp")},
            {"image": uri},
            {"image": "DATA:;BASE64," + body},
            {"image": f"{head},{body.rstrip('=')}"},
            {"image": f"{head},{body.replace('+', '-').replace('/', '_')}"},
        ],
    )
    results = vectors(run("embed", "--input", path).stdout)
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=BATCH_TOLERANCE)
    alone = one_vector(run("embed", "--image", uri).stdout)
    np.testing.assert_allclose(alone, results[0], atol=BATCH_TOLERANCE)


def test_npy_is_the_json_lines(run: Run, items: list[dict], tmp_path: Path) -> None:
    records = items[:3] + [{"id": "bad", "image": "nowhere.jpg"}, "{"] + items[3:5]
    path = write_json_lines(tmp_path / "items.jsonl", records)
    as_lines = json_lines(run("embed", "--input", path, code=65).stdout)
    run("embed", "--input", path, "--output", tmp_path / "v.npy", code=65)
    matrix = np.load(tmp_path / "v.npy", allow_pickle=False)
    ids = json_lines((tmp_path / "v.npy.ids.jsonl").read_text(encoding="utf-8"))

    assert matrix.dtype == np.float32
    assert matrix.shape == (len(records), 512)
    for row, name, line in zip(matrix, ids, as_lines, strict=True):
        assert name["id"] == line["id"]
        assert name.get("error") == line.get("error")
        if "error" in line:
            assert np.isnan(row).all()
        else:
            # Two runs may make batches of other sizes.
            np.testing.assert_allclose(row, line["embedding"], atol=BATCH_TOLERANCE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["items.jsonl", "v.npy", "v.npy.ids.jsonl"]


def test_no_records_make_an_empty_matrix(run: Run, tmp_path: Path) -> None:
    run("embed", "--input", "-", "--output", tmp_path / "v.npy", input="\n")
    assert np.load(tmp_path / "v.npy").shape == (0, 512)


def test_provenance_says_what_was_done(run: Run, photos: Path, tmp_path: Path) -> None:
    path = write_json_lines(
        tmp_path / "items.jsonl",
        [
            {"image": str(photos / "astronaut.jpg"), "text": "one two three"},
            {"image": str(photos / "astronaut.jpg")},
            {"text": "word " * 1000},
        ],
    )
    cut = run("embed", "--input", path, "--provenance")
    both, image, text = (record["provenance"] for record in json_lines(cut.stdout))
    assert (both["side"], both["tokens"], both["cut_tokens"], both["windows"]) == ("fused", 5, 0, 1)
    assert (image["side"], image["tokens"], image["windows"]) == ("image", 0, 0)
    assert image["image"] == both["image"] and len(image["image"]) == 2
    assert text["image"] is None
    assert text["tokens"] + text["cut_tokens"] == 1002
    assert text["cut_tokens"] > 0
    assert "1 text was longer" in cut.stderr

    whole = run("embed", "--input", path, "--provenance", "--long-text", "windows")
    windows = json_lines(whole.stdout)[2]["provenance"]
    assert windows["windows"] > 1
    assert windows["cut_tokens"] == 0
    assert "longer" not in whole.stderr
    assert np.abs(vectors(whole.stdout)[:2] - vectors(cut.stdout)[:2]).max() < BATCH_TOLERANCE


def test_scaled_decode_changes_a_large_photograph_little(run: Run, photos: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    with Image.open(photos / "astronaut.jpg") as photo:
        photo.resize((1600, 1200)).save(large, quality=95)
    small = photos / "astronaut.jpg"
    path = write_json_lines(tmp_path / "items.jsonl", [{"image": str(large)}, {"image": str(small)}])
    plain = run("embed", "--input", path, "--provenance").stdout
    scaled = run("embed", "--input", path, "--provenance", "--scaled-decode").stdout
    assert [record["provenance"]["image"] for record in json_lines(scaled)] == [
        record["provenance"]["image"] for record in json_lines(plain)
    ]
    cosines = (vectors(plain) * vectors(scaled)).sum(1)
    assert 0.98 < cosines[0] < 1 - 1e-6
    assert np.array_equal(vectors(plain)[1], vectors(scaled)[1])


def test_limits_refuse_an_image(run: Run, photos: Path) -> None:
    image = photos / "astronaut.jpg"
    size = image.stat().st_size
    record = json.dumps({"image": str(image)}) + "\n" + json.dumps({"image": data_uri(image)})
    for limit in (["--max-bytes", size - 1], ["--max-pixels", 1000]):
        done = run("embed", "--input", "-", *limit, input=record, code=65)
        assert [r["error"]["code"] for r in json_lines(done.stdout)] == ["image_too_large"] * 2
    assert len(vectors(run("embed", "--input", "-", "--max-bytes", size, input=record).stdout)) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--image", "nowhere.jpg"], 66, "nowhere.jpg"),
        (["--text", ""], 65, "empty"),
        (["--input", "nowhere.jsonl"], 66, "nowhere.jsonl"),
        (["--input", "."], 74, "cannot be read"),
        ([], 64, "--image"),
        (["--text", "a", "--input", "-"], 64, "--input"),
        (["--text", "a", "--format", "npy"], 64, "--output"),
        (["--text", "a", "--model", "nowhere"], 66, "nowhere"),
        (["--text", "a", "--output", "nowhere/v.jsonl"], 66, "nowhere/v.jsonl"),
    ],
)
def test_what_cannot_be_done_at_all_fails_the_command(run: Run, arguments: list[str], code: int, says: str) -> None:
    done = run("embed", *arguments, code=code)
    assert done.stdout == ""
    assert done.stderr.startswith("bifocal: ")
    assert says in done.stderr

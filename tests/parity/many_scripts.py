"""Strings of many scripts, and strings that no one would write: the same ones on every run."""

import random

ALPHABETS = {
    "latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "accents": "àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿāăąćĉčďđēęěğģħīıłńňőœŕřśşšţťůűźżžƠơƯưǍǎȘșḀạẮắẞßÀÉÎÕÜİ",
    "greek": "αβγδεζηθικλμνξοπρσςτυφχψωΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩάέήίόύώϊϋΐΰἀἁἂἃᾳᾼῼ",
    "cyrillic": "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯіїєґўџљњћђ",
    "armenian_georgian": "աբգդեզէըթժիլխծկՀՁՂՃՄაბგდევზთიკლმᲐᲑᲒ",
    "hebrew": "אבגדהוזחטיכךלמםנןסעפףצץקרשתְִֵֶַָֹּׁׂ־׳״",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤإئةىًٌٍَُِّْـ،؛؟۰۱۲٣٤ﷺﻼ",
    "devanagari": "अआइईउऊऋएऐओऔकखगघचछजझटठडढतथदधनपफबभमयरलवशषसहािीुूृेैोौंःँ़्।॥०१२क़ख़ग़",
    "indic": "আইকখগঘািীুূেৈোৌ্অংஅஆஇகசடதாிீுொோௌ்తెలుగుకఖಕನ್ನಡമലയാളം",
    "thai_lao_khmer": "กขคงจชซญดตถทนบปผพฟมยรลวสหอะาิีึืุูเแโใไำ่้๊๋์ๆ฿ກຂຄງຈາຳកខគឃាិី្។",
    "tibetan_myanmar": "ཀཁགངཅཆཇཉྲྱིེོུ་།ཱཱིུྲྀကခဂငာိုးေ်္။",
    "hangul": "가각간갇한국어뷁힣안녕하세요ㄱㄴㄷㅏㅑㅓ",
    "jamo": "\u1100\u1101\u1112\u1161\u1162\u1175\u11a8\u11ab\u11c2\ua960\ud7b0\ud7cb",
    "han": "的一是不了人我在有他这为之大来以个中上们日本語漢字學習龍龘㐀㒨豈更車𠀀𪜀𫝀𫠝𬺰\U0002b820\U0002b91f\U0002b920\U00030000丽",
    "kana": "あいうえおかがきぎくぐけげこごはばぱひびぴアイウエオカガヴヷヸヺーｱｲｳﾞﾟ゛゜ゝゞ々〆",
    "african": "ሀለሐመሠረሰቀበተ፡።ⴰⴱⴳߊߋߌꦀꦁꩀ",
    "cased_rarities": "ǅǈǋǲﬀﬁﬂﬃẖẗẘẙẚſΐΰᾳῳꭰᏣᎠⅠⅷⓐⒶ𐐀𐐨𞤀𞤢ꟋꟌꟐᲀᲈꙊꙋKÅΩ",
    "wide": "ＡＢＣａｂｃ１２３！？（）＂＇，．：；［］｛｝～￠￡",
    "digits": "0123456789٠١٢٣۴۵०१२๐๑๒０１２³²¹½¼①②Ⅳ",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿«»‘’“”„…–—‐‑§¶†‡•‰′″‹›⁂⁇⁈。、・「」『』〜〽᭐᙭᠀࠰।؟՞",
    "symbols": "€£¥₹₿©®™°±×÷≠≤≥∞∑√∫∂∆→←↑↓⇒♥★☆☺♪█▁▂░∀∃∈∉⊂ℵℝ𝒜𝔄𝕬ﾡ",
    "emoji": "😀😂🤣😊😍👍👎🙏🔥🎉💯❤️☀️⚽🐶🍕🚗",
    "modifiers": "\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fd\U0001f3ff\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7\u20e3\U000e0067\U000e007f",
    "combining": "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030c\u0315\u031b\u0323\u0327\u0328\u032d\u0331\u0334\u0338\u0344\u0345\u035c\u0360\u0483\u05b0\u064b\u0653\u093c\u0f71\u0f72\u0f74\u0f80\u1734\u1885\u1886\u1dc0\u1dfb\u20d0\u20dd\u302a\u302e\u3099\u309a\ua9bd\ufb1e\ufe20\U000101fd\U000111c9\U00011938\U0001d165\U0001d16d\U0001e8d0\U0001e944",
    "invisible": "\u00ad\u034f\u061c\u070f\u115f\u1160\u17b4\u180b\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2061\u2066\u2069\ufeff\ufff9\ufffb\U000e0001",
    "spaces": " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u2007\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
    "controls": "\x00\x01\x02\x07\x08\x0e\x1a\x1b\x7f\x80\x81\x90\x9f\ufffd\ufffe\uffff\ufdd0",
    "private": "\ue000\ue123\uf8ff\U000f0000\U000ffffd\U00100000\U0010ffff",
    "unassigned": "\u0378\u0530\u05ff\u1c8b\u2fe0\uffe7\U0001fbff\U0003ffff\U000e0fff",
    "newer_than_unicode_8": "\u08d4\u1c80\u1c89\u2e43\u2e52\u2e5d\ua7cb\ua7dc\U00010d50\U00010d65\U00011660\U00016ea0\U0001e95e\U0001f9ff\U0001fae8",
}
SPECIALS = "[CLS] [SEP] [MASK] [PAD] [UNK] [unused1] <s> </s> <pad> <unk> <mask> [cls] [ MASK ] [MASK [MASK]] ##ing ## ▁the".split(" ")
SEQUENCES = [
    "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷🇯", "👩🏽‍🚀", "1️⃣", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "❤️‍🔥",
    "e\u0301", "a\u0323\u0307", "a\u0307\u0323", "q\u0307\u0323\u0300", "\u1100\u1161\u11a8", "가\u11a8", "ΌΔΟΣ", "ΣΑΣ", "İIıi",
    "ŒUVRE", "ﬁnd", "naïve", "Straße STRASSE", "don't won't I'm they've we're", "U.S.A.", "3.14", "1,000,000", "a@b.co",
    "http://example.com/a?b=c#d", "C++", "\r\n", "\u0f73\u0f71\u0f72", "\u0344", "\u1e9b\u0323", "ệ", "ḍ\u0307", "\u212b\u2126\u212a",
]  # fmt: skip


def _word(rng: random.Random, letters: str) -> str:
    return "".join(rng.choices(letters, k=rng.randint(1, 12)))


def _of_one_script(rng: random.Random, name: str) -> str:
    return " ".join(_word(rng, ALPHABETS[name]) for _ in range(rng.randint(1, 8)))


def _of_all_scripts(rng: random.Random) -> str:
    names = rng.choices(list(ALPHABETS), k=rng.randint(2, 6))
    return rng.choice(["", " ", "\u3000"]).join(_word(rng, ALPHABETS[name]) for name in names)


def _of_sequences(rng: random.Random) -> str:
    parts = rng.choices(SEQUENCES + SPECIALS, k=rng.randint(1, 6))
    return rng.choice(["", " ", "  ", "\t", "\u00a0"]).join(parts)


def _of_any_code_point(rng: random.Random) -> str:
    top = rng.choice([0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000])
    points = [rng.randrange(top) for _ in range(rng.randint(1, 24))]
    return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)


def _of_marks(rng: random.Random) -> str:
    marks = ALPHABETS["combining"] + ALPHABETS["hebrew"] + ALPHABETS["tibetan_myanmar"]
    bases = ALPHABETS["latin"] + ALPHABETS["accents"] + ALPHABETS["jamo"] + " "
    return "".join(rng.choice(bases) + _word(rng, marks) for _ in range(rng.randint(1, 5)))


def _of_long_words(rng: random.Random) -> str:
    letters = ALPHABETS[rng.choice(["latin", "accents", "hangul", "greek", "combining", "emoji"])]
    return " ".join("".join(rng.choices(letters, k=rng.randint(90, 110))) for _ in range(2))


def _of_words_and_specials(rng: random.Random) -> str:
    words = "the a of and in to was ing ed un believ able cat dogs running quickly 東京 café".split()
    gaps = ["", " ", "  ", "\n", ".", ", "]
    return "".join(
        rng.choice(words + SPECIALS) + rng.choice(gaps) for _ in range(rng.randint(1, 15))
    )


def many_scripts(count: int = 6000) -> list[str]:
    rng = random.Random(20231)
    makers = [
        _of_all_scripts,
        _of_sequences,
        _of_any_code_point,
        _of_marks,
        _of_words_and_specials,
        *(lambda r, name=name: _of_one_script(r, name) for name in ALPHABETS),
    ]
    texts = ["", " ", "\n\t ", "\x00", "\u200b", "a" * 100, "a" * 101, "a\x00b", "[MASK]", *SEQUENCES]
    texts += [_of_long_words(rng) for _ in range(100)]
    while len(texts) < count:
        texts.append(makers[len(texts) % len(makers)](rng))
    return texts

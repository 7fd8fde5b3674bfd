"""A bundle run in Python by programs that are not ours: Pillow, efficientnet_lite_pytorch,
transformers, and the fusion layer of fusion_definition.py on PyTorch. For bench/retrieval.py.

Only what the default bundle holds: an EfficientNet-Lite with lukemelas names, a BERT, mean pooling,
pictures already of the encoder's size.
"""

import json

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from fusion_definition import Definition
from PIL import Image
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, BertTokenizerFast


def batches(values, size):
    return [values[i : i + size] for i in range(0, len(values), size)]


class ReferencePipeline:
    def __init__(self, bundle):
        self.vision = EfficientNet.from_name("efficientnet-lite0")
        self.vision.load_state_dict(load_file(bundle / "vision/model.safetensors"))
        self.vision.eval()
        self.preprocess = json.loads((bundle / "vision/preprocessor_config.json").read_text())
        self.text = BertModel(BertConfig.from_json_file(bundle / "text/config.json"), add_pooling_layer=False)
        weights = load_file(bundle / "text/model.safetensors")
        missing, _ = self.text.load_state_dict(weights, strict=False)
        assert not [name for name in missing if "position_ids" not in name], missing
        self.text.eval()
        self.tokenizer = BertTokenizerFast(str(bundle / "text/vocab.txt"))
        config = json.loads((bundle / "bifocal.json").read_text())["fusion"]
        weights = load_file(bundle / "fusion/model.safetensors")
        self.fusion = Definition(config, {name: tensor.float() for name, tensor in weights.items()})

    @torch.inference_mode()
    def images(self, paths):
        """[B, 49, C]"""
        mean, std = (np.array(self.preprocess[key]) * 255 for key in ("image_mean", "image_std"))
        pixels = np.stack([(np.asarray(Image.open(path).convert("RGB")) - mean) / std for path in paths])
        features = self.vision.extract_features(torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2))
        return features.flatten(2).transpose(1, 2)

    @torch.inference_mode()
    def texts(self, texts):
        """[B, L, H], [B, L] bool"""
        encoded = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        return self.text(**encoded).last_hidden_state, encoded["attention_mask"].bool()

    @torch.inference_mode()
    def embed(self, paths=None, texts=None):
        """[B, e]"""
        images = self.images(paths) if paths is not None else [None] * len(texts)
        tokens, valid = self.texts(texts) if texts is not None else (None, None)
        vectors = []
        for i, image in enumerate(images):
            text = tokens[i][valid[i]] if tokens is not None else None
            vectors.append(self.fusion(vision=image, grid=(7, 7), text=text)["embedding"])
        return torch.stack(vectors).numpy()


def reference_vectors(bundle, pairs, folder):
    pipeline = ReferencePipeline(bundle)
    paths = [folder / pair["image"] for pair in pairs]
    captions = [caption for pair in pairs for caption in pair["captions"]]
    firsts = [pair["captions"][0] for pair in pairs]
    return {
        "image": np.concatenate([pipeline.embed(paths=part) for part in batches(paths, 32)]),
        "text": np.concatenate([pipeline.embed(texts=part) for part in batches(captions, 64)]),
        "fused": np.concatenate(
            [pipeline.embed(a, b) for a, b in zip(batches(paths, 32), batches(firsts, 32))]
        ),
    }

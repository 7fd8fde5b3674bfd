"""The fusion layer on PyTorch's functions, written from its definition in docs/fusion.md."""

import math

import torch
import torch.nn.functional as F


class Definition:
    """Step by step, one item at a time: no batch, no mask, no code shared with Bifocal."""

    def __init__(self, config: dict, weights: dict[str, torch.Tensor]):
        self.config, self.weights = config, weights

    def linear(self, name, x):
        return F.linear(x, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def norm(self, name, x):
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.config["layer_norm_eps"])

    def projection(self, name, x):
        return self.linear(name + ".dense", self.norm(name + ".norm", x))

    def mlp(self, name, x):
        return self.linear(name + ".fc2", F.gelu(self.linear(name + ".fc1", x)))

    def attention(self, name, x):
        q, k, v = self.linear(name + ".qkv", x).chunk(3, dim=-1)
        count = self.config["num_attention_heads"]
        heads = []
        for q_h, k_h, v_h in zip(*(t.chunk(count, -1) for t in (q, k, v)), strict=True):
            scores = q_h @ k_h.T / math.sqrt(q_h.shape[-1])
            heads.append(F.softmax(scores, dim=-1) @ v_h)
        return self.linear(name + ".out", torch.cat(heads, -1))

    def layer(self, name, x):
        if self.config["norm"] == "pre":
            x = x + self.attention(name + ".attention", self.norm(name + ".attention_norm", x))
            return x + self.mlp(name + ".mlp", self.norm(name + ".mlp_norm", x))
        x = self.norm(name + ".attention_norm", x + self.attention(name + ".attention", x))
        return self.norm(name + ".mlp_norm", x + self.mlp(name + ".mlp", x))

    def position(self, height, width):
        rows, columns = self.config["grid_height"], self.config["grid_width"]
        grid = self.weights["vision_position"].reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
        return grid.permute(0, 2, 3, 1).reshape(height * width, -1)

    def late(self, vision, text):
        """How well each token of the text finds one of the image that is like it."""
        cells = F.normalize(self.projection("vision_projection", vision), dim=-1)
        words = F.normalize(self.projection("text_projection", text), dim=-1)
        found = []
        for word in words:
            likeness = cells @ word
            found.append(F.softmax(likeness * self.weights["late_attention_scale"].exp(), 0) @ likeness)
        return torch.stack(found).mean()

    def class_logits(self, label_set, c, vision, text):
        name = "class_heads." + label_set["name"]
        x = self.linear(name, c)
        if label_set.get("pooled"):
            for side, tokens in (("vision", vision), ("text", text)):
                if tokens is not None:
                    x = x + self.projection(f"{name}.{side}", tokens.mean(0))
        return self.linear(name + ".out", F.gelu(x)) if label_set.get("hidden_size") else x

    def __call__(self, vision=None, grid=None, text=None) -> dict[str, torch.Tensor]:
        """vision [h * w, C], text [L, H] without padding."""
        w = self.weights
        sequence = [w["fusion_token"].unsqueeze(0)]
        if vision is not None:
            tokens = self.projection("vision_projection", vision)
            sequence.append(tokens + self.position(*grid) + w["vision_type"])
        if text is not None:
            sequence.append(self.projection("text_projection", text) + w["text_type"])
        x = torch.cat(sequence)
        for i in range(self.config["num_hidden_layers"]):
            x = self.layer(f"layers.{i}", x)
        c = x[0] if self.config["norm"] == "post" else self.norm("final_norm", x[0])
        own = F.normalize(self.linear("embedding_head", c), dim=-1)
        result = {"context": c, "embedding": own}
        features = c
        if self.config["skip"]:
            mode = 2 if text is not None and vision is not None else (0 if text is None else 1)
            if vision is not None:
                pooled = self.projection("pooled_vision", vision.mean(0))
                result["vision"] = skip = F.normalize(pooled, dim=-1)
            if text is not None:
                pooled = self.projection("pooled_text", text.mean(0))
                result["text"] = skip = F.normalize(pooled, dim=-1)
            if mode == 2:
                b_v, b_t = result["vision"], result["text"]
                skip = (w["pooled_mix"][0] * b_v + w["pooled_mix"][1] * b_t) / math.sqrt(2)
                features = torch.cat([c, 30 * b_v * b_t, 20 * (b_v - b_t).abs()])
            result["embedding"] = F.normalize(skip + w["residual_gain"][mode] * own, dim=-1)
        if vision is not None and text is not None:
            result["match"] = self.mlp("match_head", features).squeeze(-1)
            if self.config.get("match_cosine"):
                result["match"] = result["match"] + w["match_scale"] * (b_v * b_t).sum(-1)
            if self.config.get("match_late_interaction"):
                result["match"] = result["match"] + 20 * w["late_gain"] * self.late(vision, text)
        for i, label_set in enumerate(self.config.get("label_sets", [])):
            result[f"class.{i}"] = self.class_logits(label_set, c, vision, text)
        return result

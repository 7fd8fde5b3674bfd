"""For compare.py, in its scratch environment: models with random weights, and the engines that run them.

    compare_peers.py build KIND NAME SIZE FOLDER    weights for ours, model.onnx for the others, input
    compare_peers.py serve ENGINE PRECISION FOLDER  answers to lines of standard input as bench_encoder does
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
BERTS = {
    "MiniLM-L6": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "BERT-base": {},
}


def efficientnet(name, size, folder):
    """timm's, whose batch norms have seen some images: fresh statistics would let activations die out."""
    import torch
    sys.path.insert(0, str(ROOT / "tests/parity"))
    from torchvision_stub import import_timm

    model = import_timm().create_model(name, pretrained=False).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of what it sees
    with torch.no_grad():
        model(torch.randn(4, 3, size, size))
    (folder / "config.json").write_text(json.dumps({"architecture": name}))

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixels):
            return self.model.forward_features(pixels).mean((2, 3))

    return model, Pooled(), {"pixels": torch.randn(1, 3, size, size)}


def bert(name, texts, tokens, folder):
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(**BERTS[name])
    model = BertModel(config, add_pooling_layer=False)
    config.save_pretrained(folder)

    class States(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids):
            return self.model(input_ids=ids).last_hidden_state

    return model, States(), {"ids": torch.randint(1000, 30000, (texts, tokens))}


def export(model, inputs, file):
    import torch

    with torch.no_grad():
        program = torch.onnx.export(model.eval(), tuple(inputs.values()), input_names=list(inputs),
                                    output_names=["output"], dynamo=True, verbose=False)
    program.save(file)


def whole_model(bundle, photo, folder):
    """The three models of a bundle as reference_pipeline.py defines them; a photograph and its caption."""
    import torch
    sys.path.insert(0, str(ROOT / "tests/parity"))
    from reference_pipeline import ReferencePipeline

    pipeline = ReferencePipeline(pathlib.Path(bundle))
    photo = ROOT / photo
    items = [json.loads(line) for line in (photo.parent.parent / "items.jsonl").read_text("utf-8").splitlines()]
    caption = next(item["text"] for item in items if item["image"].endswith(photo.name))
    ids = torch.tensor(pipeline.tokenizer([caption])["input_ids"])

    def module(function):
        class Module(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.parts = torch.nn.ModuleList([pipeline.vision, pipeline.text])

            def forward(self, *inputs):
                return function(*inputs)

        return Module()

    vision = module(lambda pixels: pipeline.vision.extract_features(pixels).flatten(2).transpose(1, 2))
    text = module(lambda ids: pipeline.text(input_ids=ids).last_hidden_state)
    fusion = module(lambda image, text: pipeline.fusion(vision=image[0], grid=(7, 7), text=text[0])["embedding"][None])
    pixels = torch.zeros(1, 3, *pipeline.preprocess["size"].values())
    export(vision, {"pixels": pixels}, folder / "vision.onnx")
    export(text, {"ids": ids}, folder / "text.onnx")
    with torch.no_grad():
        tokens = {"image": vision(pixels), "text": text(ids)}
    export(fusion, tokens, folder / "fusion.onnx")
    for name in ("vision/preprocessor_config.json", "text/tokenizer.json"):
        (folder / pathlib.Path(name).name).write_bytes((pathlib.Path(bundle) / name).read_bytes())
    return {"jpeg": torch.tensor(list(photo.read_bytes()), dtype=torch.uint8),
            "caption": torch.tensor(list(caption.encode()), dtype=torch.uint8)}


def build(kind, name, size, folder):
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "item":
        save_file(whole_model(name, size, folder), folder / "input.safetensors")
        return
    sizes = [int(number) for number in size.split("x")]
    if kind == "fusion":
        vision, text, width = sizes
        save_file({"vision": torch.randn(1, vision, 1280), "text": torch.randn(1, text, width)},
                  folder / "input.safetensors")
        return
    model, exported, inputs = efficientnet(name, *sizes, folder) if kind == "vision" else bert(name, *sizes, folder)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    export(exported, inputs, folder / "model.onnx")
    save_file(inputs, folder / "input.safetensors")  # last: where it is, the rest is whole


def quantised(model):
    """The same with weights of 8 bits, a scale for each column, and activations rounded as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    file = pathlib.Path(model).with_suffix(".int8.onnx")
    if not file.exists():
        quantize_dynamic(model, file, weight_type=QuantType.QInt8, per_channel=True)
    return file


def onnxruntime(model, precision):
    import onnxruntime as ort

    if precision == "int8":
        model = str(quantised(model))
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def openvino(model, precision):
    import openvino as ov

    compiled = ov.Core().compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]})
    request = compiled.create_infer_request()
    return lambda inputs: request.infer(inputs, share_inputs=True, share_outputs=True)[0]


def pipeline(load, precision, folder):
    """From the bytes of a JPEG and a caption, by Pillow (libjpeg-turbo) and tokenizers."""
    import io
    from PIL import Image
    from tokenizers import Tokenizer

    vision, text, fusion = (load(str(folder / f"{part}.onnx"), precision) for part in ("vision", "text", "fusion"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    config = json.loads((folder / "preprocessor_config.json").read_text())
    size = (config["size"]["width"], config["size"]["height"])
    scale = np.float32(1 / 255) / np.array(config["image_std"], np.float32)
    shift = np.array(config["image_mean"], np.float32) / np.array(config["image_std"], np.float32)

    def run(inputs):
        image = Image.open(io.BytesIO(inputs["jpeg"].tobytes())).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        pixels = np.ascontiguousarray((np.asarray(image) * scale - shift).transpose(2, 0, 1)[None])
        ids = np.array([tokenizer.encode(inputs["caption"].tobytes().decode()).ids], np.int64)
        return fusion({"image": vision({"pixels": pixels}), "text": text({"ids": ids})})

    return run


def serve(engine, precision, folder):
    from safetensors.numpy import load_file, save_file

    load = {"onnxruntime": onnxruntime, "openvino": openvino}[engine]
    single = folder / "model.onnx"
    run = load(str(single), precision) if single.exists() else pipeline(load, precision, folder)
    inputs = load_file(folder / "input.safetensors")
    for line in sys.stdin:
        what, argument = line.split()
        if what == "output":
            save_file({"output": np.ascontiguousarray(run(inputs))}, argument)
            answer = {}
        else:
            wall, cpu, end = [], [], time.perf_counter() + float(argument)
            while (began := time.perf_counter()) < end:
                used = time.process_time()
                run(inputs)
                cpu.append(1e3 * (time.process_time() - used))
                wall.append(1e3 * (time.perf_counter() - began))
            answer = {"ms": wall, "cpu_ms": cpu}
        print(json.dumps(answer), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("build")
    for name in ("kind", "name", "size"):
        one.add_argument(name)
    two = commands.add_parser("serve")
    for name in ("engine", "precision"):
        two.add_argument(name)
    for command in (one, two):
        command.add_argument("folder", type=pathlib.Path)
    arguments = vars(parser.parse_args())
    {"build": build, "serve": serve}[arguments.pop("command")](**arguments)


if __name__ == "__main__":
    main()

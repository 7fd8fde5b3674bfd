"""The clients that people already have, against the server: the vectors are the library's."""

import base64
import json
import subprocess

import numpy as np
import pytest
from serving_support import CAPTIONS, PHOTOS, assert_same, data_uri

cohere = pytest.importorskip("cohere")
openai = pytest.importorskip("openai")
triton = pytest.importorskip("tritonclient.http")


@pytest.fixture(scope="module")
def text_vectors(library):
    return np.concatenate([library.embed([{"text": text}]) for text in CAPTIONS])


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def openai_client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none needed", max_retries=0)


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_openai_embeddings(openai_client, text_vectors, encoding):
    model = openai_client.models.list().data[0].id
    for i, text in enumerate(CAPTIONS):
        answer = openai_client.embeddings.create(input=text, model=model, **encoding)
        vector = answer.data[0].embedding
        if isinstance(vector, str):
            vector = np.frombuffer(base64.b64decode(vector), "<f4")
        assert_same([vector], text_vectors[i : i + 1])
        assert answer.model == model
        assert answer.usage.prompt_tokens > 2


def test_openai_many_texts_in_order(openai_client, text_vectors):
    model = openai_client.models.list().data[0].id
    answer = openai_client.embeddings.create(input=CAPTIONS * 8, model=model)
    assert [one.index for one in answer.data] == list(range(32))
    assert_same([one.embedding for one in answer.data], np.tile(text_vectors, (8, 1)), 1e-5)


def test_openai_dimensions_are_cut_and_brought_back_to_length_one(openai_client, text_vectors):
    model = openai_client.models.list().data[0].id
    answer = openai_client.embeddings.create(input=CAPTIONS[0], model=model, dimensions=64)
    assert_same([answer.data[0].embedding], unit(text_vectors[:1, :64]))


def test_openai_token_ids(openai_client, url, text_vectors):
    import requests

    model = openai_client.models.list().data[0].id
    tokens = requests.post(f"{url}/v1/tokenize", json={"texts": CAPTIONS[:1]}).json()
    ids = [token["id"] for token in tokens["data"][0]["tokens"]]
    answer = openai_client.embeddings.create(input=ids, model=model)
    assert_same([answer.data[0].embedding], text_vectors[:1])


def test_openai_errors_are_the_clients_own(openai_client):
    model = openai_client.models.list().data[0].id
    with pytest.raises(openai.BadRequestError):
        openai_client.embeddings.create(input="a", model=model, dimensions=100_000)
    with pytest.raises(openai.NotFoundError):
        openai_client.embeddings.create(input="a", model="no-such-model")
    with pytest.raises(openai.APIStatusError) as empty:
        openai_client.embeddings.create(input=["a", ""], model=model)
    assert "input[1]" in str(empty.value)


@pytest.fixture(scope="module")
def cohere_client(url):
    return cohere.ClientV2(api_key="none needed", base_url=url)


def test_cohere_texts(cohere_client, text_vectors):
    answer = cohere_client.embed(
        model="default", input_type="search_document", texts=CAPTIONS[:1],
        embedding_types=["float", "int8", "uint8", "binary", "ubinary"],
    )
    assert_same(answer.embeddings.float_, text_vectors[:1])
    bits = np.unpackbits(np.array(answer.embeddings.ubinary[0], dtype=np.uint8))
    assert (bits == (text_vectors[0] >= 0)).all()
    assert (np.array(answer.embeddings.binary[0]) == np.array(answer.embeddings.ubinary[0]) - 128).all()
    int8 = np.array(answer.embeddings.int8[0])
    assert np.abs(int8 / 127 - text_vectors[0]).max() < 0.5 / 127 + 1e-3
    assert (np.array(answer.embeddings.uint8[0]) - 128 == int8).all()


def test_cohere_fuses_the_inner_list(cohere_client, library):
    photo = PHOTOS / "coffee.webp"
    content = [
        {"type": "text", "text": CAPTIONS[1]},
        {"type": "image_url", "image_url": {"url": data_uri(photo)}},
    ]
    answer = cohere_client.embed(
        model="default", input_type="search_document", inputs=[{"content": content}],
        embedding_types=["float"],
    )
    assert_same(answer.embeddings.float_, library.embed([{"image": str(photo), "text": CAPTIONS[1]}]))


def test_triton_client_by_json_and_by_the_binary_extension(url, library):
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live() and client.is_server_ready()
    model = "default"
    assert client.is_model_ready(model)
    names = {one["name"] for one in client.get_model_metadata(model)["inputs"]}
    assert {"text", "image"} <= names
    photo = PHOTOS / "coffee.webp"
    expected = library.embed([{"image": str(photo), "text": CAPTIONS[1]}])
    for binary in (True, False):
        text = triton.InferInput("text", [1], "BYTES")
        text.set_data_from_numpy(np.array([CAPTIONS[1].encode()], dtype=np.object_), binary_data=binary)
        image = triton.InferInput("image", [1], "BYTES")
        picture = photo.read_bytes() if binary else base64.b64encode(photo.read_bytes())
        image.set_data_from_numpy(np.array([picture], dtype=np.object_), binary_data=binary)
        answer = client.infer(
            model, [text, image], outputs=[triton.InferRequestedOutput("embedding", binary_data=binary)]
        )
        assert_same(answer.as_numpy("embedding"), expected)
    client.close()


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "--max-time", "30", *map(str, arguments)], capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def curl_json(url, body, folder):
    """A body from a file: a picture in base64 is longer than a command line may be."""
    source = folder / "body.json"
    source.write_text(json.dumps(body))
    return curl("-H", "Content-Type: application/json", "--data-binary", f"@{source}", url)


def test_curl_uploads_a_picture_in_each_way(url, library, tmp_path):
    photo = PHOTOS / "rocket.jpg"
    expected = library.embed([{"image": str(photo)}])
    path = f"{url}/v1/fused/embeddings"
    ways = [
        curl("-F", f"image=@{photo}", path),
        curl("-H", "Content-Type: image/jpeg", "--data-binary", f"@{photo}", path),
        curl_json(path, {"items": [{"image": data_uri(photo)}]}, tmp_path),
    ]
    for answer in ways:
        assert_same([answer["data"][0]["embedding"]], expected)
    together = curl("-F", f"image=@{photo}", "-F", f"text={CAPTIONS[2]}", path)
    assert_same([together["data"][0]["embedding"]], library.embed([{"image": str(photo), "text": CAPTIONS[2]}]))


def test_jina_voyage_vllm_and_tei_by_their_recorded_forms(url, library, text_vectors, tmp_path):
    photo = PHOTOS / "coffee.webp"
    uri = data_uri(photo)
    image_vector = library.embed([{"image": str(photo)}])
    fused = library.embed([{"image": str(photo), "text": CAPTIONS[1]}])

    def post(path, body):
        return curl_json(url + path, body, tmp_path)

    jina = post("/v1/embeddings", {"model": "default", "input": [{"text": CAPTIONS[0]}, {"image": uri}]})
    assert_same(jina["data"][0]["embedding"], text_vectors[0])
    assert_same(jina["data"][1]["embedding"], image_vector[0])

    content = [{"type": "text", "text": CAPTIONS[1]}, {"type": "image_url", "image_url": {"url": uri}}]
    vllm = post("/v1/embeddings", {"model": "default", "messages": [{"role": "user", "content": content}]})
    assert_same(vllm["data"][0]["embedding"], fused[0])

    voyage = post("/v1/multimodalembeddings", {
        "model": "default",
        "inputs": [{"content": [{"type": "text", "text": CAPTIONS[1]}, {"type": "image_base64", "image_base64": uri}]}],
    })
    assert_same(voyage["data"][0]["embedding"], fused[0])

    assert_same(post("/embed", {"inputs": CAPTIONS[0]}), text_vectors[:1])
    score = post("/similarity", {"inputs": {"source_sentence": CAPTIONS[0], "sentences": [CAPTIONS[0], CAPTIONS[3]]}})
    assert_same(score, text_vectors[[0, 3]] @ text_vectors[0], 1e-5)
    ranked = post("/rerank", {"query": CAPTIONS[0], "texts": [CAPTIONS[3], CAPTIONS[0]], "return_text": True})
    assert ranked[0]["index"] == 1 and ranked[0]["text"] == CAPTIONS[0]
    tokens = post("/tokenize", {"inputs": CAPTIONS[0]})
    ids = [token["id"] for token in tokens[0]]
    assert post("/decode", {"ids": ids, "skip_special_tokens": True}) == [CAPTIONS[0]]

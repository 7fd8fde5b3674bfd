// The Open Inference Protocol:
// https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
// and its binary extension:
// https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html

#include <gmock/gmock.h>

#include <cstring>

#include "wire_format.h"

namespace bifocal::http {
namespace {

using nlohmann::json;
using testing::bytes_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::WireFormat;

const std::string kInfer = "/v2/models/tiny/infer";

json tensor(const std::string& name, const json& shape, const std::string& datatype,
            const json& data) {
  return {{"name", name}, {"shape", shape}, {"datatype", datatype}, {"data", data}};
}
json texts(const json& data) { return tensor("text", {data.size()}, "BYTES", data); }

class OpenInference : public ::testing::Test {
 protected:
  static Request request(const json& body) { return WireFormat::request(kInfer, body); }
  // The JSON, then the tensors' bytes, and the header that tells them apart.
  static Request binary(const json& body, const std::string& tail) {
    Request request = WireFormat::request(kInfer, body.dump() + tail, "application/octet-stream");
    request.headers.add("Inference-Header-Content-Length", std::to_string(body.dump().size()));
    return request;
  }
  static json binary_tensor(const std::string& name, const json& shape, const std::string& datatype,
                            std::size_t bytes) {
    return {{"name", name},
            {"shape", shape},
            {"datatype", datatype},
            {"parameters", {{"binary_data_size", bytes}}}};
  }
  WireFormat format{wire::open_inference_routes()};
};

TEST_F(OpenInference, TensorsAreItemsByTheirFirstSize) {
  auto items = format.items(request({{"inputs", {texts({"a", "b"})}}}));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[1].item.text, "b");

  items = format.items(
      request({{"inputs", {texts({"a", ""}), tensor("image", {2}, "BYTES", {"Y2F0", "ZG9n"})}}}));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].item.text, "a");
  EXPECT_EQ(bytes_of(items[0].item.image), "cat");
  EXPECT_FALSE(items[1].item.text);  // empty, where the image is there: absent
  EXPECT_EQ(bytes_of(items[1].item.image), "dog");
}

TEST_F(OpenInference, DataIsNestedAsTheShapeIsOrFlat) {
  for (const json& data : {json({{1, 2}, {3, 4}}), json({1, 2, 3, 4})}) {
    const auto items =
        format.items(request({{"inputs",
                               {tensor("input_ids", {2, 2}, "INT64", data),
                                tensor("attention_mask", {2, 2}, "INT64", {1, 1, 1, 0})}}}));
    ASSERT_EQ(items.size(), 2u);
    EXPECT_THAT(*items[0].item.token_ids, ElementsAre(1, 2));
    EXPECT_THAT(*items[1].item.token_ids, ElementsAre(3));
  }
}

TEST_F(OpenInference, TheAnswerHasNameVersionIdAndTensors) {
  const json answer = format.embedded(request({{"id", "7"}, {"inputs", {texts({"a", "b"})}}}),
                                      {{0.5F, 1}, {0, -1}});
  EXPECT_EQ(answer, json::parse(R"({"model_name": "tiny", "model_version": "1", "id": "7",
      "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [2, 2],
                   "data": [0.5, 1.0, 0.0, -1.0]}]})"));
}

// Each element of BYTES behind its length, four bytes, lowest first.
TEST_F(OpenInference, BinaryInputsFollowTheJson) {
  const std::string text("\x02\0\0\0hi\x01\0\0\0a", 11);
  std::string ids;
  for (const std::int32_t id : {5, 6}) {
    char bytes[4];
    std::memcpy(bytes, &id, sizeof bytes);
    ids.append(bytes, sizeof bytes);
  }
  auto items =
      format.items(binary({{"inputs", {binary_tensor("text", {2}, "BYTES", text.size())}}}, text));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].item.text, "hi");
  EXPECT_EQ(items[1].item.text, "a");
  items = format.items(
      binary({{"inputs", {binary_tensor("input_ids", {1, 2}, "INT32", ids.size())}}}, ids));
  EXPECT_THAT(*items.at(0).item.token_ids, ElementsAre(5, 6));
  // Raw bytes are the image itself, not its base64.
  const std::string image("\x04\0\0\0Y2F0", 8);
  items = format.items(
      binary({{"inputs", {binary_tensor("image", {1}, "BYTES", image.size())}}}, image));
  EXPECT_EQ(bytes_of(items.at(0).item.image), "Y2F0");
}

// 1.0 is 00 00 80 3f, lowest byte first.
TEST_F(OpenInference, BinaryOutputsFollowTheJson) {
  for (const json& body :
       {json({{"inputs", {texts({"a"})}}, {"parameters", {{"binary_data_output", true}}}}),
        json({{"inputs", {texts({"a"})}},
              {"outputs", {{{"name", "embedding"}, {"parameters", {{"binary_data", true}}}}}}})}) {
    const Response response =
        format.write<EmbedWork, Embedding>(request(body), {WireFormat::embedding({1, 0})});
    EXPECT_EQ(response.content_type, "application/octet-stream");
    const auto size = static_cast<std::size_t>(
        std::stoul(std::string(response.headers.get("Inference-Header-Content-Length"))));
    const json answer = json::parse(response.body.substr(0, size));
    EXPECT_EQ(answer["outputs"][0]["parameters"]["binary_data_size"], 8);
    EXPECT_FALSE(answer["outputs"][0].contains("data"));
    EXPECT_EQ(response.body.substr(size), std::string("\0\0\x80\x3f\0\0\0\0", 8));
  }
}

TEST_F(OpenInference, MatchAndClassAreOutputsToo) {
  Match match;
  match.probability = 0.75F;
  match.cosine = 0.5F;
  json answer = format.answer<MatchWork>(
      request({{"inputs", {texts({"a"})}},
               {"outputs", {{{"name", "match_cosine"}}, {{"name", "match_probability"}}}}}),
      std::vector<Result<Match>>{match});
  EXPECT_EQ(answer["outputs"][0]["data"], json::parse("[0.5]"));
  EXPECT_EQ(answer["outputs"][1]["name"], "match_probability");
  EXPECT_EQ(answer["outputs"][1]["shape"], json({1}));

  Classification classes;
  classes.scores = {{"red", 0.75F}, {"green", 0.25F}};
  answer = format.answer<ClassifyWork>(
      request({{"inputs", {texts({"a"})}},
               {"outputs", {{{"name", "class_label"}}, {{"name", "class_score"}}}}}),
      std::vector<Result<Classification>>{classes});
  EXPECT_EQ(answer["outputs"][0]["datatype"], "BYTES");
  EXPECT_EQ(answer["outputs"][0]["shape"], json({1, 2}));
  EXPECT_EQ(answer["outputs"][0]["data"], json({"red", "green"}));
  EXPECT_EQ(answer["outputs"][1]["data"], json::parse("[0.75, 0.25]"));
}

TEST_F(OpenInference, Metadata) {
  json answer = format.answer(WireFormat::get("/v2"));
  EXPECT_EQ(answer["name"], "bifocal");
  EXPECT_TRUE(answer.contains("version"));
  EXPECT_EQ(answer["extensions"], json({"binary_tensor_data"}));
  for (const char* path : {"/v2/models/tiny", "/v2/models/default/versions/1"}) {
    answer = format.answer(WireFormat::get(path));
    EXPECT_EQ(answer["versions"], json({"1"}));
    for (const char* side : {"inputs", "outputs"})
      for (const json& one : answer[side])
        for (const char* key : {"name", "datatype", "shape"}) EXPECT_TRUE(one.contains(key));
    EXPECT_EQ(answer["outputs"][0]["shape"], json({-1, 8}));
  }
}

TEST_F(OpenInference, ReadyIsTheModels) {
  EXPECT_EQ(format.answer(WireFormat::get("/v2/models/tiny/ready")),
            json({{"name", "tiny"}, {"ready", true}}));
  format.why_not_ready = "it sleeps";
  const auto response = format.read_as<Response>(WireFormat::get("/v2/models/tiny/ready"));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(json::parse(response.body)["ready"], false);
}

TEST_F(OpenInference, WhatDoesNotFitIsNamed) {
  const json good = texts({"a"});
  for (const auto& [body, word] : std::vector<std::pair<json, std::string>>{
           {{{"inputs", {good}}, {"sequence", 1}}, "sequence"},
           {{{"inputs", {good}}, {"parameters", {{"priority", 1}}}}, "priority"},
           {{{"inputs", {tensor("sound", {1}, "BYTES", {"a"})}}}, "sound"},
           {{{"inputs", {tensor("text", {2}, "BYTES", {"a"})}}}, "inputs[0]"},
           {{{"inputs", {tensor("text", {1}, "FP32", {1.5})}}}, "datatype"},
           {{{"inputs", {tensor("text", {-1}, "BYTES", {"a"})}}}, "shape"},
           {{{"inputs", {good, good}}}, "twice"},
           {{{"inputs", {good}}, {"outputs", {{{"name", "logits"}}}}}, "outputs[0].name"},
           {{{"inputs", {good}},
             {"outputs", {{{"name", "embedding"}, {"parameters", {{"classification", 3}}}}}}},
            "classification"},
           {{{"inputs", json::array()}}, "inputs"}}) {
    const auto refusal = format.refusal(request(body));
    EXPECT_EQ(refusal.code, ErrorCode::kInvalidArgument) << body;
    EXPECT_THAT(refusal.message, HasSubstr(word));
    EXPECT_EQ(refusal.body, json({{"error", refusal.message}}));
  }
  EXPECT_EQ(format.refusal(WireFormat::get("/v2/models/other")).code, ErrorCode::kNotFound);
  EXPECT_EQ(format.refusal(WireFormat::get("/v2/models/tiny/versions/2")).code,
            ErrorCode::kNotFound);
}

TEST_F(OpenInference, BinaryLengthsThatLieAreRefused) {
  const std::string text("\x02\0\0\0hi", 6);
  for (const std::size_t told : {std::size_t{5}, std::size_t{7}, std::size_t{1} << 40})
    EXPECT_EQ(
        format.refusal(binary({{"inputs", {binary_tensor("text", {1}, "BYTES", told)}}}, text))
            .code,
        ErrorCode::kInvalidArgument);
  // An element longer than what is left, and bytes that nobody claims.
  EXPECT_EQ(format
                .refusal(binary({{"inputs", {binary_tensor("text", {1}, "BYTES", 6)}}},
                                std::string("\x03\0\0\0hi", 6)))
                .code,
            ErrorCode::kInvalidArgument);
  EXPECT_THAT(
      format.refusal(binary({{"inputs", {binary_tensor("text", {1}, "BYTES", 6)}}}, text + "more"))
          .message,
      HasSubstr("4 bytes"));
  Request longer = binary({{"inputs", json::array()}}, "");
  longer.body.pop_back();
  EXPECT_THAT(format.refusal(longer).message, HasSubstr("Inference-Header-Content-Length"));
}

}  // namespace
}  // namespace bifocal::http

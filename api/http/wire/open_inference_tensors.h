#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "../message.h"
#include "json.h"

// Tensors as the Open Inference Protocol sends them, in JSON and by its binary extension.
// https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
// https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
namespace bifocal::http::wire {

struct InputTensor {
  std::string name;
  std::string datatype;  // BYTES, INT32 or INT64
  std::vector<std::int64_t> shape;
  bool is_binary = false;           // BYTES came raw, and so are no base64
  std::vector<std::string> bytes;   // of BYTES; as many as the shape says
  std::vector<std::int64_t> whole;  // of INT32 and INT64
};

struct InferRequest {
  nlohmann::json json;  // the JSON part
  std::vector<InputTensor> inputs;
};

// Reads and checks every size against what is there before anything is allocated for it. Throws
// Error(kInvalidArgument) naming the tensor.
InferRequest read_infer_request(const Request& request, std::size_t max_json_depth);

struct OutputTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::variant<std::vector<float>, std::vector<std::string>> data;  // FP32 or BYTES
  bool binary = false;
};

// {"model_name", "model_version", "id"?, "outputs"}, with the binary ones behind the JSON.
Response write_infer_response(AnswerJson answer, const std::vector<OutputTensor>& outputs);

}  // namespace bifocal::http::wire

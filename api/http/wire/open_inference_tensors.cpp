#include "open_inference_tensors.h"

#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "../json_body.h"
#include "bifocal/error.h"

namespace bifocal::http::wire {
namespace {

static_assert(std::endian::native == std::endian::little, "the protocol's numbers are as ours");

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, where + " " + what);
}

std::vector<std::int64_t> read_shape(const JsonObject& tensor, const std::string& where) {
  std::vector<std::int64_t> shape;
  for (const nlohmann::json& size : tensor.array("shape")) {
    if (!size.is_number_integer() || size.get<std::int64_t>() < 0 ||
        size.get<std::int64_t>() > std::numeric_limits<std::int32_t>::max())
      refuse(where + ".shape", "holds something that is not a size from 0 to 2^31 - 1");
    shape.push_back(size.get<std::int64_t>());
  }
  if (shape.empty() || shape.size() > 2) refuse(where + ".shape", "has not one or two sizes");
  return shape;
}

// No overflow: two sizes under 2^31.
std::uint64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::uint64_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

std::size_t whole_size(const std::string& datatype) { return datatype == "INT32" ? 4 : 8; }

// Nested as the shape is, or flat.
void flatten(const nlohmann::json& data, const std::string& where, InputTensor& tensor) {
  for (const nlohmann::json& value : data) {
    if (value.is_array())
      flatten(value, where, tensor);
    else if (tensor.datatype == "BYTES" && value.is_string())
      tensor.bytes.push_back(value.get<std::string>());
    else if (tensor.datatype != "BYTES" && value.is_number_integer())
      tensor.whole.push_back(value.get<std::int64_t>());
    else
      refuse(where + ".data", "holds something that is not of " + tensor.datatype);
  }
}

// Each element behind its length, four bytes.
void read_bytes(std::string_view raw, const std::string& where, InputTensor& tensor) {
  while (!raw.empty()) {
    std::uint32_t size = 0;
    if (raw.size() < sizeof size) refuse(where, "ends within the length of an element");
    std::memcpy(&size, raw.data(), sizeof size);
    raw.remove_prefix(sizeof size);
    if (size > raw.size())
      refuse(where, "has an element of " + std::to_string(size) + " bytes where " +
                        std::to_string(raw.size()) + " are left");
    tensor.bytes.emplace_back(raw.substr(0, size));
    raw.remove_prefix(size);
  }
}

template <typename T>
void read_whole(std::string_view raw, InputTensor& tensor) {
  tensor.whole.reserve(raw.size() / sizeof(T));
  for (std::size_t at = 0; at + sizeof(T) <= raw.size(); at += sizeof(T)) {
    T value = 0;
    std::memcpy(&value, raw.data() + at, sizeof value);
    tensor.whole.push_back(value);
  }
}

// What a request holds behind its JSON, handed out from the front.
class Tail {
 public:
  explicit Tail(std::string_view bytes) : left_(bytes) {}
  std::string_view take(std::uint64_t size, const std::string& where) {
    if (size > left_.size())
      refuse(where, "has a binary_data_size of " + std::to_string(size) + " where " +
                        std::to_string(left_.size()) + " bytes are left behind the JSON");
    const std::string_view taken = left_.substr(0, size);
    left_.remove_prefix(size);
    return taken;
  }
  std::size_t left() const noexcept { return left_.size(); }

 private:
  std::string_view left_;
};

InputTensor read_tensor(const nlohmann::json& value, const std::string& where, Tail& tail) {
  const JsonObject json(value, where);
  json.refuse_unknown({"name", "shape", "datatype", "data", "parameters"});
  InputTensor tensor;
  tensor.name = json.string("name");
  tensor.datatype = json.string("datatype");
  if (tensor.datatype != "BYTES" && tensor.datatype != "INT32" && tensor.datatype != "INT64")
    refuse(where + ".datatype", "is not one of BYTES, INT64 and INT32");
  tensor.shape = read_shape(json, where);
  const std::uint64_t elements = elements_of(tensor.shape);
  std::optional<std::int64_t> binary_size;
  if (json.has("parameters")) {
    const JsonObject parameters(json.at("parameters"), json.place("parameters"));
    parameters.refuse_unknown({"binary_data_size"});
    binary_size = parameters.optional_integer("binary_data_size", 0,
                                              std::numeric_limits<std::int64_t>::max());
  }
  if (binary_size.has_value() == json.has("data"))
    refuse(where, "needs either data or parameters.binary_data_size");
  if (binary_size) {
    tensor.is_binary = true;
    const std::string_view raw = tail.take(static_cast<std::uint64_t>(*binary_size), where);
    if (tensor.datatype == "BYTES") {
      read_bytes(raw, where, tensor);
    } else {
      if (raw.size() != elements * whole_size(tensor.datatype))
        refuse(where, "has " + std::to_string(raw.size()) + " bytes, and its shape and datatype " +
                          std::to_string(elements * whole_size(tensor.datatype)));
      if (tensor.datatype == "INT32")
        read_whole<std::int32_t>(raw, tensor);
      else
        read_whole<std::int64_t>(raw, tensor);
    }
  } else {
    flatten(json.array("data"), where, tensor);
  }
  const std::size_t held = tensor.datatype == "BYTES" ? tensor.bytes.size() : tensor.whole.size();
  if (held != elements)
    refuse(where,
           "has " + std::to_string(held) + " elements, and its shape " + std::to_string(elements));
  return tensor;
}

}  // namespace

InferRequest read_infer_request(const Request& request, std::size_t max_json_depth) {
  const std::string_view body = request.body;
  std::size_t json_size = body.size();
  if (const auto text = request.headers.get("inference-header-content-length"); !text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), json_size);
    if (error != std::errc() || end != text.data() + text.size() || json_size > body.size())
      refuse("Inference-Header-Content-Length",
             "is not a length within the body's " + std::to_string(body.size()) + " bytes");
  }
  InferRequest read;
  read.json = parse_json(body.substr(0, json_size), max_json_depth);
  Tail tail(body.substr(json_size));
  const JsonObject json(read.json);
  json.refuse_unknown({"id", "parameters", "inputs", "outputs"});
  const nlohmann::json& inputs = json.array("inputs");
  if (inputs.size() > 16) refuse("inputs", "has more tensors than any model here takes");
  for (std::size_t i = 0; i < inputs.size(); ++i)
    read.inputs.push_back(read_tensor(inputs[i], "inputs[" + std::to_string(i) + "]", tail));
  if (tail.left() > 0)
    refuse("the body", "has " + std::to_string(tail.left()) + " bytes that no tensor claims");
  return read;
}

Response write_infer_response(AnswerJson answer, const std::vector<OutputTensor>& outputs) {
  std::string tail;
  answer["outputs"] = AnswerJson::array();
  for (const OutputTensor& output : outputs) {
    const auto* numbers = std::get_if<std::vector<float>>(&output.data);
    AnswerJson one = {{"name", output.name}, {"datatype", numbers != nullptr ? "FP32" : "BYTES"}};
    one["shape"] = output.shape;
    if (!output.binary) {
      one["data"] = numbers != nullptr
                        ? AnswerJson(*numbers)
                        : AnswerJson(std::get<std::vector<std::string>>(output.data));
    } else {
      const std::size_t before = tail.size();
      if (numbers != nullptr) {
        const auto bytes = std::as_bytes(std::span(*numbers));
        tail.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      } else {
        for (const std::string& text : std::get<std::vector<std::string>>(output.data)) {
          const auto size = static_cast<std::uint32_t>(text.size());
          tail.append(reinterpret_cast<const char*>(&size), sizeof size);
          tail += text;
        }
      }
      one["parameters"] = {{"binary_data_size", tail.size() - before}};
    }
    answer["outputs"].push_back(std::move(one));
  }
  Response response;
  response.body = text_of(answer);
  if (!tail.empty()) {
    response.content_type = "application/octet-stream";
    response.headers.add("Inference-Header-Content-Length", std::to_string(response.body.size()));
    response.body += tail;
  }
  return response;
}

}  // namespace bifocal::http::wire

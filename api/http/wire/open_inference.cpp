// The Open Inference Protocol, version 2 (KServe, Triton, OpenVINO Model Server): a model of the
// inputs "image", "text" and "input_ids", and of the outputs that a request asks for.

#include <algorithm>
#include <memory>
#include <utility>

#include "../json_body.h"
#include "bifocal/version.h"
#include "formats.h"
#include "json.h"
#include "open_inference_tensors.h"
#include "reading.h"

namespace bifocal::http::wire {
namespace {

constexpr const char* kVersion = "1";

void require_served(const Request& request, const Context& context) {
  require_model(request.path_value("model"), context);
  const std::string_view version = request.path_value("version");
  if (!version.empty() && version != kVersion)
    throw Error(ErrorCode::kNotFound, "this model has no version but 1");
}

// --- Inputs -------------------------------------------------------------------------------------

// How many items the tensors hold: the first size of each.
std::size_t count_items(const std::vector<InputTensor>& inputs) {
  if (inputs.empty())
    throw Error(ErrorCode::kInvalidArgument,
                "inputs has no tensor; give \"image\", \"text\" or \"input_ids\"");
  for (const InputTensor& tensor : inputs)
    if (tensor.shape.front() != inputs.front().shape.front())
      throw Error(ErrorCode::kInvalidArgument, "the inputs " + inputs.front().name + " and " +
                                                   tensor.name + " differ in their first size");
  return static_cast<std::size_t>(inputs.front().shape.front());
}

void require_bytes(const InputTensor& tensor) {
  if (tensor.datatype != "BYTES" || (tensor.shape.size() == 2 && tensor.shape[1] != 1))
    throw Error(ErrorCode::kInvalidArgument,
                "the input " + tensor.name + " is not of datatype BYTES and shape [-1]");
}

void require_ids(const InputTensor& tensor) {
  if (tensor.datatype == "BYTES" || tensor.shape.size() != 2)
    throw Error(ErrorCode::kInvalidArgument,
                "the input " + tensor.name + " is not of datatype INT64 and shape [-1, -1]");
}

// BYTES cannot say that an element is absent: an empty one does, where another input has it.
void add_images(const InputTensor& tensor, const RequestLimits& limits,
                std::vector<WorkItem>& items) {
  require_bytes(tensor);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string& given = tensor.bytes[i];
    if (given.empty()) continue;
    if (!tensor.is_binary) {
      read_image(given, "image[" + std::to_string(i) + "]", limits, items[i]);
      continue;
    }
    const auto bytes = std::as_bytes(std::span(given));
    items[i].item.image.emplace(bytes.begin(), bytes.end());
  }
}

void add_texts(const InputTensor& tensor, bool may_be_absent, std::vector<WorkItem>& items) {
  require_bytes(tensor);
  for (std::size_t i = 0; i < items.size(); ++i)
    if (!tensor.bytes[i].empty() || !may_be_absent) items[i].item.text = tensor.bytes[i];
}

void add_ids(const InputTensor& ids, const InputTensor* mask, std::vector<WorkItem>& items) {
  require_ids(ids);
  if (mask != nullptr) {
    require_ids(*mask);
    if (mask->shape != ids.shape)
      throw Error(ErrorCode::kInvalidArgument, "attention_mask has not the shape of input_ids");
  }
  const auto width = static_cast<std::size_t>(ids.shape[1]);
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::vector<std::int64_t> row;
    for (std::size_t k = i * width; k < (i + 1) * width; ++k)
      if (mask == nullptr || mask->whole[k] != 0) row.push_back(ids.whole[k]);
    items[i].item.token_ids = std::move(row);
  }
}

std::vector<WorkItem> read_items(const std::vector<InputTensor>& inputs,
                                 const RequestLimits& limits) {
  const InputTensor *image = nullptr, *text = nullptr, *ids = nullptr, *mask = nullptr;
  for (const InputTensor& tensor : inputs) {
    const InputTensor** place = tensor.name == "image"            ? &image
                                : tensor.name == "text"           ? &text
                                : tensor.name == "input_ids"      ? &ids
                                : tensor.name == "attention_mask" ? &mask
                                                                  : nullptr;
    if (place == nullptr)
      throw Error(ErrorCode::kInvalidArgument, "there is no input \"" + tensor.name +
                                                   "\"; there are image, text, input_ids and "
                                                   "attention_mask");
    if (*place != nullptr)
      throw Error(ErrorCode::kInvalidArgument, "the input " + tensor.name + " is there twice");
    *place = &tensor;
  }
  if (text != nullptr && ids != nullptr)
    throw Error(ErrorCode::kInvalidArgument, "a text is given by text or by input_ids, not both");
  if (mask != nullptr && ids == nullptr)
    throw Error(ErrorCode::kInvalidArgument, "attention_mask belongs to input_ids");
  const std::size_t count = count_items(inputs);
  require_items(count, image != nullptr ? count : 0, "inputs", limits);
  std::vector<WorkItem> items(count);
  if (image != nullptr) add_images(*image, limits, items);
  if (text != nullptr) add_texts(*text, image != nullptr, items);
  if (ids != nullptr) add_ids(*ids, mask, items);
  return items;
}

// --- Outputs ------------------------------------------------------------------------------------

enum class Kind { kEmbed, kMatch, kClassify };

struct OutputInfo {
  const char* name;
  Kind kind;
  const char* datatype;
};
constexpr OutputInfo kOutputs[] = {
    {"embedding", Kind::kEmbed, "FP32"},       {"match_probability", Kind::kMatch, "FP32"},
    {"match_logit", Kind::kMatch, "FP32"},     {"match_cosine", Kind::kMatch, "FP32"},
    {"class_label", Kind::kClassify, "BYTES"}, {"class_score", Kind::kClassify, "FP32"},
};

struct Wanted {
  std::string name;
  bool binary = false;
};

struct InferForm {
  Kind kind = Kind::kEmbed;
  std::vector<Wanted> outputs;
  AnswerJson answer;  // the response but for its outputs
};

void read_outputs(const JsonObject& body, bool binary, InferForm& form) {
  if (!body.has("outputs") || body.array("outputs").empty()) {
    form.outputs.push_back({"embedding", binary});
    return;
  }
  const nlohmann::json& outputs = body.array("outputs");
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const JsonObject output(outputs[i], "outputs[" + std::to_string(i) + "]");
    output.refuse_unknown({"name", "parameters"});
    Wanted wanted{output.string("name"), binary};
    if (output.has("parameters")) {
      const JsonObject parameters(output.at("parameters"), output.place("parameters"));
      parameters.refuse_unknown({"binary_data"});
      wanted.binary = parameters.optional_boolean("binary_data").value_or(binary);
    }
    const auto* known =
        std::find_if(std::begin(kOutputs), std::end(kOutputs),
                     [&](const OutputInfo& one) { return wanted.name == one.name; });
    if (known == std::end(kOutputs))
      output.fail("name",
                  "is not one of embedding, match_probability, match_logit, match_cosine, "
                  "class_label and class_score");
    if (i > 0 && known->kind != form.kind)
      output.fail("name", "belongs to another task than " + form.outputs.front().name +
                              "; ask for each in a request of its own");
    if (std::any_of(form.outputs.begin(), form.outputs.end(),
                    [&](const Wanted& other) { return other.name == wanted.name; }))
      output.fail("name", "is there twice");
    form.kind = known->kind;
    form.outputs.push_back(std::move(wanted));
  }
}

std::vector<OutputTensor> tensors_of(const InferForm& form,
                                     std::vector<Result<Embedding>> results) {
  OutputTensor tensor;
  tensor.name = "embedding";
  tensor.binary = form.outputs.front().binary;
  std::vector<float> all;
  for (const auto& result : results)
    all.insert(all.end(), result.value().values.begin(), result.value().values.end());
  const std::size_t size = results.front().value().values.size();
  tensor.shape = {static_cast<std::int64_t>(results.size()), static_cast<std::int64_t>(size)};
  tensor.data = std::move(all);
  return {tensor};
}

std::vector<OutputTensor> tensors_of(const InferForm& form,
                                     const std::vector<Result<Match>>& results) {
  std::vector<OutputTensor> tensors;
  for (const Wanted& wanted : form.outputs) {
    std::vector<float> all;
    for (const auto& result : results) {
      const Match& match = result.value();
      all.push_back(wanted.name == "match_probability" ? match.probability
                    : wanted.name == "match_logit"     ? match.logit
                                                       : match.cosine);
    }
    tensors.push_back({wanted.name, {static_cast<std::int64_t>(all.size())}, all, wanted.binary});
  }
  return tensors;
}

std::vector<OutputTensor> tensors_of(const InferForm& form,
                                     std::vector<Result<Classification>> results) {
  std::vector<OutputTensor> tensors;
  const auto classes = static_cast<std::int64_t>(results.front().value().scores.size());
  for (const Wanted& wanted : form.outputs) {
    std::vector<float> scores;
    std::vector<std::string> labels;
    for (const auto& result : results) {
      for (const LabelScore& one : result.value().scores) {
        scores.push_back(one.score);
        labels.push_back(one.label);
      }
    }
    OutputTensor tensor;
    tensor.name = wanted.name;
    tensor.shape = {static_cast<std::int64_t>(results.size()), classes};
    tensor.binary = wanted.binary;
    if (wanted.name == "class_score")
      tensor.data = std::move(scores);
    else
      tensor.data = std::move(labels);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

template <typename W, typename T>
Work finish(W work, std::vector<WorkItem>&& items, InferForm form) {
  work.items = std::move(items);
  work.write = [form = std::move(form)](const Context&, std::vector<Result<T>> results) {
    throw_first_error(results, "item");
    return write_infer_response(form.answer, tensors_of(form, std::move(results)));
  };
  return work;
}

Work infer(const Request& request, const Context& context) {
  require_served(request, context);
  const InferRequest read = read_infer_request(request, context.limits.max_json_depth);
  const JsonObject body(read.json);
  InferForm form;
  form.answer = {{"model_name", std::string(request.path_value("model"))},
                 {"model_version", kVersion}};
  if (const auto id = body.optional_string("id")) form.answer["id"] = *id;
  bool binary = false;
  Side side = Side::kFused;
  ClassifyWork classify;
  if (body.has("parameters")) {
    const JsonObject parameters(body.at("parameters"), "parameters");
    if (parameters.has("timeout"))
      parameters.fail("timeout", "is not read here; send the header x-request-timeout-ms");
    parameters.refuse_unknown({"binary_data_output", "side", "label_set", "top_k"});
    binary = parameters.optional_boolean("binary_data_output").value_or(false);
    side = parameters.choice<Side>(
        "side", {{"fused", Side::kFused}, {"image", Side::kImage}, {"text", Side::kText}}, side);
    classify.options.label_set = parameters.optional_string("label_set").value_or("");
    classify.options.top_k =
        static_cast<std::size_t>(parameters.optional_integer("top_k", 0, 100'000).value_or(5));
  }
  read_outputs(body, binary, form);
  std::vector<WorkItem> items = read_items(read.inputs, context.limits);
  if (form.kind == Kind::kMatch)
    return finish<MatchWork, Match>({}, std::move(items), std::move(form));
  if (form.kind == Kind::kClassify) {
    classify.options.side = side;
    return finish<ClassifyWork, Classification>(std::move(classify), std::move(items),
                                                std::move(form));
  }
  EmbedWork embed;
  embed.options.side = side;
  return finish<EmbedWork, Embedding>(std::move(embed), std::move(items), std::move(form));
}

// --- Metadata -----------------------------------------------------------------------------------

AnswerJson tensor_info(const char* name, const char* datatype,
                       const std::vector<std::int64_t>& shape) {
  AnswerJson json = {{"name", name}, {"datatype", datatype}};
  json["shape"] = shape;
  return json;
}

Work server_metadata(const Request&, const Context&) {
  AnswerJson answer = {{"name", "bifocal"}, {"version", BIFOCAL_VERSION}};
  answer["extensions"] = {"binary_tensor_data"};
  return json_response(answer);
}

Work model_metadata(const Request& request, const Context& context) {
  require_served(request, context);
  AnswerJson answer = {{"name", std::string(request.path_value("model"))}};
  answer["versions"] = AnswerJson::array({kVersion});
  answer["platform"] = "bifocal";
  answer["inputs"] = {tensor_info("image", "BYTES", {-1}), tensor_info("text", "BYTES", {-1}),
                      tensor_info("input_ids", "INT64", {-1, -1}),
                      tensor_info("attention_mask", "INT64", {-1, -1})};
  answer["outputs"] = AnswerJson::array();
  for (const OutputInfo& output : kOutputs) {
    std::vector<std::int64_t> shape = {-1};
    if (output.kind == Kind::kEmbed) shape.push_back(context.session.info().embedding_size);
    if (output.kind == Kind::kClassify) shape.push_back(-1);
    answer["outputs"].push_back(tensor_info(output.name, output.datatype, shape));
  }
  return json_response(answer);
}

Work model_ready(const Request& request, const Context& context) {
  require_served(request, context);
  const auto why = context.why_not_ready();
  AnswerJson answer = {{"name", std::string(request.path_value("model"))}, {"ready", !why}};
  if (why) answer["reason"] = *why;
  Response response = json_response(answer);
  if (why) response.status = traits(ErrorCode::kUnavailable).http_status;
  return response;
}

std::string write_error(const Error& error, const Request&) {
  return text_of({{"error", error.message()}});
}

}  // namespace

std::vector<Route> open_inference_routes() {
  std::vector<Route> routes{{"GET", "/v2", "metadata", server_metadata, write_error}};
  for (const std::string path : {"/v2/models/{model}", "/v2/models/{model}/versions/{version}"}) {
    routes.push_back({"GET", path, "metadata", model_metadata, write_error});
    routes.push_back({"GET", path + "/ready", "ready", model_ready, write_error});
    routes.push_back({"POST", path + "/infer", "infer", infer, write_error});
  }
  return routes;
}

}  // namespace bifocal::http::wire

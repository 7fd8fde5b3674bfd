#include "engine/forward.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "bifocal/error.h"
#include "models/fusion_model.h"
#include "nn/cpu/team.h"

namespace bifocal::engine {
namespace {

using Rows = std::span<const ForwardRow>;

// The pictures of a batch, each once although several windows of one text share it.
vision::VisionOutput encode_images(Rows rows, const models::FusionModel& model) {
  const vision::Preprocess& preprocess = model.preprocess();
  std::vector<const PreparedItem*> distinct;
  at::Tensor row_of = at::empty({static_cast<std::int64_t>(rows.size())}, at::kLong);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto found = std::find(distinct.begin(), distinct.end(), rows[i].item);
    row_of.data_ptr<std::int64_t>()[i] = found - distinct.begin();
    if (found == distinct.end()) distinct.push_back(rows[i].item);
  }
  at::Tensor pixels = at::empty(
      {static_cast<std::int64_t>(distinct.size()), 3, preprocess.height, preprocess.width},
      at::kFloat);  // [B, 3, H, W]
  for (std::size_t i = 0; i < distinct.size(); ++i) {
    const std::vector<float>& source = distinct[i]->pixels;
    std::memcpy(pixels.data_ptr<float>() + i * source.size(), source.data(),
                source.size() * sizeof(float));
  }
  vision::VisionOutput output = model.encode_images(pixels);
  if (distinct.size() == rows.size()) return output;
  output.tokens = at::index_select(output.tokens, 0, row_of);
  output.pooled = at::index_select(output.pooled, 0, row_of);
  return output;
}

const text::Encoding& window_of(const ForwardRow& row) { return row.item->windows[row.window]; }

models::TextFeatures encode_texts(Rows rows, const models::FusionModel& model) {
  std::size_t longest = 0;
  for (const ForwardRow& row : rows) longest = std::max(longest, window_of(row).ids.size());
  const auto count = static_cast<std::int64_t>(rows.size());
  const auto length = static_cast<std::int64_t>(longest);
  at::Tensor ids = at::full({count, length}, model.tokenizer().pad_id(), at::kLong);  // [B, L]
  at::Tensor type_ids = at::zeros({count, length}, at::kLong);                        // [B, L]
  at::Tensor valid = at::zeros({count, length}, at::kBool);                           // [B, L]
  for (std::int64_t row = 0; row < count; ++row) {
    const text::Encoding& window = window_of(rows[static_cast<std::size_t>(row)]);
    std::copy(window.ids.begin(), window.ids.end(), ids.data_ptr<std::int64_t>() + row * length);
    std::copy(window.type_ids.begin(), window.type_ids.end(),
              type_ids.data_ptr<std::int64_t>() + row * length);
    std::fill_n(valid.data_ptr<bool>() + row * length, window.ids.size(), true);
  }
  return model.encode_texts(ids, type_ids, valid);
}

// [B, n], whatever the task but kTokenStates.
at::Tensor run_head(const Task& task, const models::FusionModel& model,
                    const vision::VisionOutput* images, const models::TextFeatures* texts) {
  if (task.kind == Task::Kind::kClassify)
    return model.classify(model.fuse(images, texts), task.label_set);
  if (task.kind == Task::Kind::kEmbed) return model.fuse(images, texts).embedding;
  if (images == nullptr || texts == nullptr)
    throw Error(ErrorCode::kInvalidItem,
                "needs both an image and a text: a match is between the two");
  const at::Tensor cosine =
      at::sum(at::mul(model.fuse(images, nullptr).embedding, model.fuse(nullptr, texts).embedding),
              -1);                                                        // [B]
  return at::stack({model.match(model.fuse(images, texts)), cosine}, 1);  // [B, 2]
}

Result<RowValues> checked(const float* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i]))
      return Error(ErrorCode::kNumerical,
                   "the model gave NaN or infinity for this item; its weights may be damaged");
  return RowValues(values, values + count);
}

std::vector<Result<RowValues>> run_together(Rows rows, const Task& task,
                                            const models::FusionModel& model) {
  const c10::InferenceMode guard;
  const Side side = rows.front().item->provenance.side;
  const bool tokens_only = task.kind == Task::Kind::kTokenStates;
  std::optional<vision::VisionOutput> images;
  std::optional<models::TextFeatures> texts;
  if (side != Side::kText && !tokens_only) images = encode_images(rows, model);
  if (side != Side::kImage) texts = encode_texts(rows, model);
  if (tokens_only && !texts)
    throw Error(ErrorCode::kInvalidItem,
                "has no text, and the states of its tokens were asked for");
  const at::Tensor output =
      (tokens_only ? texts->tokens
                   : run_head(task, model, images ? &*images : nullptr, texts ? &*texts : nullptr))
          .contiguous();  // [B, n], or [B, L, H]
  const auto stride = static_cast<std::size_t>(output.numel()) / rows.size();
  std::vector<Result<RowValues>> results;
  results.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t count =
        tokens_only ? window_of(rows[i]).ids.size() * static_cast<std::size_t>(output.size(2))
                    : stride;
    results.push_back(checked(output.const_data_ptr<float>() + i * stride, count));
  }
  return results;
}

// What an exception of a library below means to the one whose item it hit.
Error described(std::exception_ptr failure) {
  try {
    std::rethrow_exception(std::move(failure));
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kInternal, "there was not enough memory for this item");
  } catch (const std::exception& unexpected) {
    return Error(ErrorCode::kInternal, "the forward pass failed; please report it",
                 unexpected.what());
  }
}

}  // namespace

ForwardThread::ForwardThread(int threads, const std::function<void(int)>& begin) {
  at::set_num_threads(1);  // a setting of the thread that calls it
  if (threads > 1) team_ = std::make_unique<nn::cpu::Team>(threads, begin);
}
ForwardThread::~ForwardThread() = default;

std::vector<Result<RowValues>> run_rows(Rows rows, const Task& task,
                                        const models::FusionModel& model) {
  if (rows.empty()) return {};
  try {
    return run_together(rows, task, model);
  } catch (...) {
    if (rows.size() == 1) return {described(std::current_exception())};
  }
  std::vector<Result<RowValues>> results;
  results.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i)
    results.push_back(std::move(run_rows(rows.subspan(i, 1), task, model).front()));
  return results;
}

}  // namespace bifocal::engine

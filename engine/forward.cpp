#include "engine/forward.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <string>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::engine {
namespace {

using Items = std::span<const Result<PreparedItem>>;

// Rows as they come back, one vector a window of an item; empty until its batch has run.
struct RowResult {
  std::vector<float> values;
  std::optional<Error> error;
};
using RowResults = std::vector<std::vector<RowResult>>;  // [item][window]

// The pictures of a batch, each once although several windows of one text share it.
vision::VisionOutput encode_images(const Batch& batch, Items items,
                                   const models::FusionModel& model) {
  const vision::Preprocess& preprocess = model.preprocess();
  std::vector<std::size_t> distinct;
  at::Tensor row_of = at::empty({static_cast<std::int64_t>(batch.size())}, at::kLong);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const auto found = std::find(distinct.begin(), distinct.end(), batch[i].item);
    row_of.data_ptr<std::int64_t>()[i] = found - distinct.begin();
    if (found == distinct.end()) distinct.push_back(batch[i].item);
  }
  at::Tensor pixels = at::empty(
      {static_cast<std::int64_t>(distinct.size()), 3, preprocess.height, preprocess.width},
      at::kFloat);  // [B, 3, H, W]
  for (std::size_t i = 0; i < distinct.size(); ++i) {
    const std::vector<float>& source = items[distinct[i]].value().pixels;
    std::memcpy(pixels.data_ptr<float>() + i * source.size(), source.data(),
                source.size() * sizeof(float));
  }
  vision::VisionOutput output = model.encode_images(pixels);
  if (distinct.size() == batch.size()) return output;
  output.tokens = at::index_select(output.tokens, 0, row_of);
  output.pooled = at::index_select(output.pooled, 0, row_of);
  return output;
}

models::TextFeatures encode_texts(const Batch& batch, Items items,
                                  const models::FusionModel& model) {
  const auto rows = static_cast<std::int64_t>(batch.size());
  const auto length = static_cast<std::int64_t>(
      std::max_element(batch.begin(), batch.end(), [](const Row& a, const Row& b) {
        return a.tokens < b.tokens;
      })->tokens);
  at::Tensor ids = at::full({rows, length}, model.tokenizer().pad_id(), at::kLong);  // [B, L]
  at::Tensor type_ids = at::zeros({rows, length}, at::kLong);                        // [B, L]
  at::Tensor valid = at::zeros({rows, length}, at::kBool);                           // [B, L]
  for (std::int64_t row = 0; row < rows; ++row) {
    const Row& source = batch[static_cast<std::size_t>(row)];
    const text::Encoding& window = items[source.item].value().windows[source.window];
    std::copy(window.ids.begin(), window.ids.end(), ids.data_ptr<std::int64_t>() + row * length);
    std::copy(window.type_ids.begin(), window.type_ids.end(),
              type_ids.data_ptr<std::int64_t>() + row * length);
    std::fill_n(valid.data_ptr<bool>() + row * length, window.ids.size(), true);
  }
  return model.encode_texts(ids, type_ids, valid);
}

void run_batch(const Batch& batch, Items items, const models::FusionModel& model, const Head& head,
               RowResults& results) {
  const c10::InferenceMode guard;
  const Side side = batch.front().side;
  std::optional<vision::VisionOutput> images;
  std::optional<models::TextFeatures> texts;
  if (side != Side::kText) images = encode_images(batch, items, model);
  if (side != Side::kImage) texts = encode_texts(batch, items, model);
  const at::Tensor output =
      head(model, images ? &*images : nullptr, texts ? &*texts : nullptr).contiguous();  // [B, n]
  const auto width = static_cast<std::size_t>(output.size(1));
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const float* row = output.const_data_ptr<float>() + i * width;
    results[batch[i].item][batch[i].window].values.assign(row, row + width);
  }
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

void run_batch_safely(const Batch& batch, Items items, const models::FusionModel& model,
                      const Head& head, RowResults& results) {
  try {
    run_batch(batch, items, model, head, results);
  } catch (...) {
    if (batch.size() == 1) {
      results[batch[0].item][batch[0].window].error = described(std::current_exception());
      return;
    }
    for (const Row& row : batch) run_batch_safely({row}, items, model, head, results);
  }
}

std::vector<Row> rows_of(Items items) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!items[i].ok()) continue;
    const PreparedItem& item = items[i].value();
    if (item.windows.empty()) rows.push_back({i, 0, item.provenance.side, 0});
    for (std::size_t w = 0; w < item.windows.size(); ++w)
      rows.push_back({i, w, item.provenance.side, item.windows[w].ids.size()});
  }
  return rows;
}

Result<Outcome> average_of_windows(const PreparedItem& item, const std::vector<RowResult>& rows) {
  Outcome outcome{{}, item.provenance};
  double total = 0;
  std::vector<double> sum;
  for (std::size_t w = 0; w < rows.size(); ++w) {
    if (rows[w].error) return *rows[w].error;
    const double weight =
        item.windows.empty() ? 1.0 : static_cast<double>(item.windows[w].ids.size());
    sum.resize(rows[w].values.size());
    for (std::size_t i = 0; i < sum.size(); ++i)
      sum[i] += weight * static_cast<double>(rows[w].values[i]);
    total += weight;
  }
  for (const double value : sum) {
    const auto mean = static_cast<float>(value / total);
    if (!std::isfinite(mean))
      return Error(ErrorCode::kNumerical,
                   "the model gave NaN or infinity for this item; its weights may be damaged");
    outcome.values.push_back(mean);
  }
  return outcome;
}

}  // namespace

std::vector<Result<Outcome>> run_forward(Items items, const models::FusionModel& model,
                                         const Head& head, WorkerPool& workers) {
  RowResults rows(items.size());
  for (std::size_t i = 0; i < items.size(); ++i)
    if (items[i].ok()) rows[i].resize(std::max<std::size_t>(1, items[i].value().windows.size()));

  const std::vector<Batch> batches = plan_batches(rows_of(items));
  workers.for_each(batches.size(),
                   [&](std::size_t i) { run_batch_safely(batches[i], items, model, head, rows); });

  std::vector<Result<Outcome>> outcomes;
  outcomes.reserve(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].ok())
      outcomes.push_back(average_of_windows(items[i].value(), rows[i]));
    else
      outcomes.emplace_back(items[i].error());
  }
  return outcomes;
}

}  // namespace bifocal::engine

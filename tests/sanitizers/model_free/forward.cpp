// Forward passes without LibTorch: each row's numbers follow from its own pixels and tokens, so
// that what belongs to whom can be told, and a pass takes a while, so that queues form.

#include "engine/forward.h"

#include <chrono>
#include <cmath>
#include <cstddef>
#include <thread>

#include "bifocal/error.h"
#include "models/fusion_model.h"
#include "nn/cpu/team.h"

namespace bifocal::engine {
namespace {

using Numbers = std::vector<double>;

constexpr std::size_t kHiddenSize = 32;  // of a token's state
constexpr auto kTextTakes = std::chrono::microseconds(50);
constexpr auto kImageTakes = std::chrono::microseconds(500);

Numbers of_image(const PreparedItem& item, std::size_t size) {
  Numbers numbers(size);
  for (std::size_t i = 0; i < item.pixels.size(); ++i)
    numbers[i * size / item.pixels.size()] += static_cast<double>(item.pixels[i]) / 100;
  return numbers;
}

double of_token(std::int64_t id, std::size_t k) {
  return std::sin(static_cast<double>(id + 1) * static_cast<double>(k + 1));
}

Numbers of_text(const text::Encoding& window, std::size_t size) {
  Numbers numbers(size);
  for (const std::int64_t id : window.ids)
    for (std::size_t k = 0; k < size; ++k) numbers[k] += of_token(id, k);
  return numbers;
}

double product(const Numbers& a, const Numbers& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// The weighted sum of the sides that are there, of length 1.
Numbers embedding(const ForwardRow& row, Side side, const models::FusionModel& model) {
  Numbers sum(model.weights().size());
  const auto add = [&](const Numbers& numbers) {
    for (std::size_t i = 0; i < sum.size(); ++i)
      sum[i] += static_cast<double>(model.weights()[i]) * numbers[i];
  };
  if (side != Side::kText) add(of_image(*row.item, sum.size()));
  if (side != Side::kImage) add(of_text(row.item->windows[row.window], sum.size()));
  const double norm = std::sqrt(product(sum, sum));
  for (double& number : sum) number /= norm;
  return sum;
}

Numbers run_row(const ForwardRow& row, const Task& task, const models::FusionModel& model) {
  const Side side = row.item->provenance.side;
  std::this_thread::sleep_for(side == Side::kText ? kTextTakes : kImageTakes);
  if (task.kind == Task::Kind::kTokenStates) {
    if (side == Side::kImage) throw Error(ErrorCode::kInvalidItem, "has no text");
    Numbers states;
    for (const std::int64_t id : row.item->windows[row.window].ids)
      for (std::size_t k = 0; k < kHiddenSize; ++k) states.push_back(of_token(id, k));
    return states;
  }
  if (task.kind == Task::Kind::kMatch) {
    if (side != Side::kFused) throw Error(ErrorCode::kInvalidItem, "needs both sides");
    const double cosine =
        product(embedding(row, Side::kImage, model), embedding(row, Side::kText, model));
    return {4 * cosine, cosine};
  }
  Numbers numbers = embedding(row, side, model);
  if (task.kind == Task::Kind::kClassify)
    numbers.resize(model.fusion_config().label_sets[task.label_set].labels.size());
  return numbers;
}

Result<RowValues> checked(const ForwardRow& row, const Task& task,
                          const models::FusionModel& model) {
  try {
    RowValues values;
    for (const double number : run_row(row, task, model)) {
      if (!std::isfinite(number)) return Error(ErrorCode::kNumerical, "gave NaN or infinity");
      values.push_back(static_cast<float>(number));
    }
    return values;
  } catch (const Error& error) {
    return error;
  }
}

}  // namespace

ForwardThread::ForwardThread(int threads, const std::function<void(int)>& begin) {
  if (threads > 1) team_ = std::make_unique<nn::cpu::Team>(threads, begin);
}
ForwardThread::~ForwardThread() = default;

std::vector<Result<RowValues>> run_rows(std::span<const ForwardRow> rows, const Task& task,
                                        const models::FusionModel& model) {
  std::vector<Result<RowValues>> results;
  results.reserve(rows.size());
  for (const ForwardRow& row : rows) results.push_back(checked(row, task, model));
  return results;
}

}  // namespace bifocal::engine

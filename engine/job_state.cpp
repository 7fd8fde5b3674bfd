#include "job_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "bifocal/error.h"
#include "models/fusion_model.h"

namespace bifocal::engine {
namespace {

std::size_t bytes_of(const Item& item) {
  return (item.image ? item.image->size() : 0) + (item.text ? item.text->size() : 0) +
         (item.token_ids ? item.token_ids->size() * sizeof(std::int64_t) : 0);
}

Result<Outcome> average_of_windows(JobState::ItemState& item) {
  if (item.error) return std::move(*item.error);
  const PreparedItem& prepared = *item.prepared;
  for (const auto& window : item.windows)
    if (!window->ok()) return window->error();
  if (item.windows.size() == 1)
    return Outcome{std::move(*item.windows[0]).value(), prepared.provenance};
  double total = 0;
  std::vector<double> sum(item.windows[0]->value().size());
  for (std::size_t w = 0; w < item.windows.size(); ++w) {
    const auto weight = static_cast<double>(prepared.windows[w].ids.size());
    const RowValues& values = item.windows[w]->value();
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += weight * static_cast<double>(values[i]);
    total += weight;
  }
  Outcome outcome{{}, prepared.provenance};
  outcome.values.reserve(sum.size());
  for (const double value : sum) outcome.values.push_back(static_cast<float>(value / total));
  return outcome;
}

}  // namespace

std::size_t guess_tokens(const Item& item, const EmbedOptions& options, std::int64_t model_tokens) {
  constexpr std::size_t kSpecials = 2, kBytesAToken = 4;
  std::size_t tokens = 0;
  if (options.side == Side::kImage) return 0;
  if (item.text) tokens = item.text->size() / kBytesAToken + kSpecials;
  if (item.token_ids) tokens = item.token_ids->size();
  if (options.long_text == LongText::kWindows) return tokens;
  return std::min(tokens, static_cast<std::size_t>(model_tokens));
}

JobState::JobState(JobRequest given, const Prices& prices)
    : request(std::move(given)), items(request.items.size()), unfinished(items.size()) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Item& item = request.items[i];
    items[i].price = prices.of(item.image && request.options.side != Side::kText,
                               guess_tokens(item, request.options, request.model->max_tokens()));
    price += items[i].price;
    bytes += bytes_of(item);
  }
}

std::optional<Error> JobState::obsolete(Clock::time_point now) const {
  if (cancelled) return Error(ErrorCode::kCancelled, "the caller has gone");
  if (request.deadline && now >= *request.deadline)
    return Error(ErrorCode::kDeadlineExceeded,
                 "the deadline passed while the item was waiting; allow more time, or retry later");
  return std::nullopt;
}

bool JobState::finish(std::size_t item) {
  price = std::max(0.0, price - items[item].price);
  items[item].price = 0;
  return --unfinished == 0;
}

JobResult JobState::result() {
  JobResult result;
  result.outcomes.reserve(items.size());
  for (ItemState& item : items) result.outcomes.push_back(average_of_windows(item));
  const auto count = static_cast<Clock::duration::rep>(std::max<std::size_t>(1, items.size()));
  result.times = {queued / count, decoding / count, tokenizing / count, inferring / count};
  return result;
}

}  // namespace bifocal::engine

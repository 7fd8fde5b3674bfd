#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "engine/forward.h"
#include "engine/job.h"

namespace bifocal::engine {

// What work is expected to cost, in seconds of a worker: measured, and told apart by what an item
// holds. An order is enough here: DrainRate says what the sum takes in truth.
struct Prices {
  double image = 0;
  double token = 0;

  double of(bool has_image, std::size_t tokens) const noexcept {
    return (has_image ? image : 0) + token * static_cast<double>(tokens);
  }
};

// A job while it is worked on. What several threads touch is guarded by the engine's mutex, except
// an item's own state: one preparer has it, then the workers that run its windows, each its own.
class JobState {
 public:
  struct ItemState {
    std::optional<PreparedItem> prepared;
    std::vector<std::optional<Result<RowValues>>> windows;
    std::optional<Error> error;
    std::size_t windows_left = 0;
    double price = 0;  // what is still to be done of it
  };

  JobState(JobRequest request, const Prices& prices);

  // For FairTurns.
  const std::string& client() const noexcept { return request.client; }
  bool has_next() const noexcept { return next < items.size(); }
  double price_of_next() const noexcept { return items[next].price; }

  // Why what has not begun need not: called off, or too late. Nothing where it should go on.
  std::optional<Error> obsolete(Clock::time_point now) const;

  // Takes an item off what is left; true where it was the last.
  bool finish(std::size_t item);
  JobResult result();  // once all items are finished

  JobRequest request;
  std::vector<ItemState> items;
  std::size_t next = 0;  // the first item not yet prepared
  std::size_t unfinished = 0;
  std::size_t bytes = 0;
  double price = 0;  // of the items that are not finished
  bool cancelled = false;
  Clock::time_point submitted = Clock::now();
  Clock::duration queued{}, decoding{}, tokenizing{}, inferring{};  // sums over items
};

// Of an encoded item, before it is tokenised: an upper guess of what its text comes to.
std::size_t guess_tokens(const Item& item, const EmbedOptions& options, std::int64_t model_tokens);

}  // namespace bifocal::engine

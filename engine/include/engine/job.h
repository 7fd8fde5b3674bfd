#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bifocal/options.h"
#include "bifocal/result.h"
#include "bifocal/values.h"
#include "engine/task.h"
#include "vision/codec.h"

namespace bifocal::models {
class FusionModel;
}

namespace bifocal::engine {

using Clock = std::chrono::steady_clock;

// One item's numbers: as Task says, averaged over the windows of its text by their tokens.
struct Outcome {
  std::vector<float> values;
  Provenance provenance;
};

// Where the time of a job went; each is the mean over its items.
struct JobTimes {
  Clock::duration queue{};      // waiting for a thread, before and after preparation
  Clock::duration decode{};     // of images, resizing included
  Clock::duration tokenize{};   // of texts
  Clock::duration inference{};  // of the forward passes that it took part in
};

struct JobResult {
  std::vector<Result<Outcome>> outcomes;  // one an item, in the order given
  JobTimes times;
};

// Items of one caller that want the same thing done.
struct JobRequest {
  std::shared_ptr<const models::FusionModel> model;
  Task task;
  EmbedOptions options;
  vision::DecodeLimits decode_limits;
  bool scaled_decode = false;
  std::span<const Item> items;
  std::shared_ptr<const void> owner;          // keeps `items` alive; null where the caller waits
  std::string client;                         // clients take turns, and so do the jobs of each
  std::optional<Clock::time_point> deadline;  // items not begun by then fail: kDeadlineExceeded
  // Called once, on a thread of the engine, when every item has its outcome. Must neither throw nor
  // block.
  std::function<void(JobResult)> done;
};

}  // namespace bifocal::engine

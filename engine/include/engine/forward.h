#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "bifocal/result.h"
#include "engine/item_preparation.h"
#include "engine/task.h"

namespace bifocal::models {
class FusionModel;
}
namespace bifocal::nn::cpu {
class Team;
}

namespace bifocal::engine {

// One row of a forward pass: a prepared item, and which window of its text where it has one.
struct ForwardRow {
  const PreparedItem* item = nullptr;
  std::size_t window = 0;
};

// What a thread keeps while it runs rows: by itself it computes alone, since one worker a core
// beats one worker on all cores; with `threads` above 1 others help it, so that a pass takes less
// time (nn/cpu/team.h). Steps of LibTorch's operators have no help. Each helper calls begin(number)
// first, from 1 upwards.
class ForwardThread {
 public:
  explicit ForwardThread(int threads = 1, const std::function<void(int)>& begin = {});
  ~ForwardThread();
  ForwardThread(const ForwardThread&) = delete;
  ForwardThread& operator=(const ForwardThread&) = delete;

 private:
  std::unique_ptr<nn::cpu::Team> team_;
};

using RowValues = std::vector<float>;

// Runs rows of one side (Provenance::side) through towers and head; one result a row. Where the
// pass fails it is run again row by row, so that one row cannot fail its neighbours; NaN or
// infinity becomes that row's Error(kNumerical). Throws nothing but std::bad_alloc.
std::vector<Result<RowValues>> run_rows(std::span<const ForwardRow> rows, const Task& task,
                                        const models::FusionModel& model);

}  // namespace bifocal::engine

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "bifocal/error.h"
#include "engine/engine.h"
#include "engine/job.h"

namespace bifocal::http {

// What /metrics tells (Prometheus text format 0.0.4): our own names, and beside them those of Text
// Embeddings Inference (te_*) and of Triton (nv_*), for which dashboards exist. Thread-safe.
class Metrics {
 public:
  explicit Metrics(std::string model_name);
  ~Metrics();

  struct RequestReport {
    std::string_view method;  // Route::dashboards: a closed set
    int status = 200;
    const Error* error = nullptr;  // of the request as a whole
    std::chrono::steady_clock::duration took{};
    engine::JobTimes times;
    std::size_t items = 0;  // 0 where no model was asked
  };
  void count_request(const RequestReport& report);
  void count_item_error(ErrorCode code);
  void count_batch(const engine::BatchReport& report);
  void count_reload(bool worked);
  void connection_opened();
  void connection_closed();

  // What is asked for when somebody looks.
  struct Gauges {
    engine::EngineLoad load;
    std::size_t held_body_bytes = 0;
    std::uint64_t log_lines_lost = 0;
    bool ready = false;
  };
  std::string text(const Gauges& gauges);

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace bifocal::http

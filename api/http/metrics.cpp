#include "metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <utility>

namespace bifocal::http {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;
using Labels = std::map<std::string, std::string>;

// From a short text alone to a large batch that waited.
const Histogram::BucketBoundaries kSeconds{0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
                                           0.2,    0.5,   1,     2,     5,    10,   30,   60};
const Histogram::BucketBoundaries kRows{1, 2, 4, 8, 16, 32, 64};
const Histogram::BucketBoundaries kTokens{8, 16, 32, 64, 128, 256, 512, 1024};

Family<Counter>& counters(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
Gauge& gauge(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}
Histogram& histogram(Registry& registry, const char* name, const char* help,
                     const Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

}  // namespace

struct Metrics::Families {
  explicit Families(std::string name) : model_name(std::move(name)) {}

  // What a request of one method counts, found once: a family makes and compares label sets at each
  // look-up.
  struct Method {
    Method(Families& families, const std::string& name)
        : labels{{"method", name}},
          duration(families.durations.Add(labels, kSeconds)),
          te_count(families.te_count.Add(labels)),
          te_success(families.te_success.Add(labels)) {}
    const Labels labels;
    Histogram& duration;
    Counter& te_count;
    Counter& te_success;
    std::map<int, Counter*> by_status;
  };
  Method& method(std::string_view name) {
    const auto found = methods.find(name);
    if (found != methods.end()) return found->second;
    return methods.try_emplace(std::string(name), *this, std::string(name)).first->second;
  }
  Counter& requests_of(Method& of, int status) {
    Counter*& counter = of.by_status[status];
    if (counter == nullptr) {
      Labels labels = of.labels;
      labels.emplace("status", std::to_string(status));
      counter = &requests.Add(labels);
    }
    return *counter;
  }
  std::mutex methods_mutex;
  std::map<std::string, Method, std::less<>> methods;

  Registry registry;
  std::string model_name;
  Labels model{{"model", model_name}, {"version", "1"}};

  // Our own.
  Family<Counter>& requests = counters(registry, "bifocal_requests_total",
                                       "Requests answered, by what they asked for and status");
  Family<Histogram>& durations = prometheus::BuildHistogram()
                                     .Name("bifocal_request_duration_seconds")
                                     .Help("From the first byte of a request to its answer")
                                     .Register(registry);
  Histogram& queue = histogram(registry, "bifocal_queue_duration_seconds",
                               "An item's wait for threads, mean of a request", kSeconds);
  Histogram& decode =
      histogram(registry, "bifocal_decode_duration_seconds",
                "Decoding and resizing an item's image, mean of a request", kSeconds);
  Histogram& tokenize = histogram(registry, "bifocal_tokenize_duration_seconds",
                                  "Tokenising an item's text, mean of a request", kSeconds);
  Histogram& inference = histogram(registry, "bifocal_inference_duration_seconds",
                                   "The forward passes of an item, mean of a request", kSeconds);
  Counter& items = counters(registry, "bifocal_items_total", "Items asked of the model").Add({});
  Family<Counter>& item_errors =
      counters(registry, "bifocal_item_errors_total", "Items that failed, by the error's code");
  Family<Counter>& refused = counters(registry, "bifocal_refused_total",
                                      "Requests that failed as a whole, by the error's code");
  Histogram& batch_rows =
      histogram(registry, "bifocal_batch_rows", "Rows of a forward pass", kRows);
  Histogram& batch_tokens = histogram(registry, "bifocal_batch_tokens",
                                      "Tokens of a forward pass, padding counted", kTokens);
  Family<Counter>& reloads =
      counters(registry, "bifocal_reloads_total", "Reloads of the bundle, by result");
  Gauge& connections = gauge(registry, "bifocal_connections", "Open connections");
  Gauge& pending_items =
      gauge(registry, "bifocal_pending_items", "Items admitted and not yet done");
  Gauge& pending_bytes = gauge(registry, "bifocal_pending_bytes", "Bytes of the pending items");
  Gauge& held_bytes =
      gauge(registry, "bifocal_held_body_bytes", "Bytes of request bodies held in memory");
  Gauge& wait = gauge(registry, "bifocal_estimated_wait_seconds",
                      "How long a new client's item would wait, by the measured drain rate");
  Gauge& lost = gauge(registry, "bifocal_log_lines_lost", "Log lines that could not be written");
  Gauge& ready = gauge(registry, "bifocal_ready", "1 where /ready answers 200");

  // Those of every Prometheus client library.
  Gauge& resident = gauge(registry, "process_resident_memory_bytes", "Resident memory");
  Gauge& cpu = gauge(registry, "process_cpu_seconds_total", "CPU time used");
  Gauge& start = gauge(registry, "process_start_time_seconds", "Start, seconds since 1970");

  // Text Embeddings Inference's.
  Family<Counter>& te_count = counters(registry, "te_request_count", "Requests, by method");
  Family<Counter>& te_success =
      counters(registry, "te_request_success", "Requests that succeeded, by method");
  Family<Counter>& te_failure =
      counters(registry, "te_request_failure", "Requests that failed, by error");
  Histogram& te_duration =
      histogram(registry, "te_request_duration", "Seconds of a request", kSeconds);
  Histogram& te_tokenization = histogram(registry, "te_request_tokenization_duration",
                                         "Seconds of tokenising, mean of a request", kSeconds);
  Histogram& te_queue = histogram(registry, "te_request_queue_duration",
                                  "Seconds of waiting, mean of a request", kSeconds);
  Histogram& te_inference = histogram(registry, "te_request_inference_duration",
                                      "Seconds of forward passes, mean of a request", kSeconds);
  Gauge& te_queue_size = gauge(registry, "te_queue_size", "Items waiting");
  Histogram& te_batch_size =
      histogram(registry, "te_batch_next_size", "Rows of a forward pass", kRows);
  Histogram& te_batch_tokens =
      histogram(registry, "te_batch_next_tokens", "Tokens of a forward pass", kTokens);

  // Triton's.
  Counter& nv_success =
      counters(registry, "nv_inference_request_success", "Inference requests that succeeded")
          .Add(model);
  Family<Counter>& nv_failure =
      counters(registry, "nv_inference_request_failure", "Inference requests that failed");
  Counter& nv_count =
      counters(registry, "nv_inference_count", "Inferences performed, each item one").Add(model);
  Counter& nv_exec = counters(registry, "nv_inference_exec_count", "Forward passes").Add(model);
  Gauge& nv_pending = prometheus::BuildGauge()
                          .Name("nv_inference_pending_request_count")
                          .Help("Items waiting")
                          .Register(registry)
                          .Add(model);
  Counter& nv_request_us =
      counters(registry, "nv_inference_request_duration_us", "Microseconds of requests").Add(model);
  Counter& nv_queue_us =
      counters(registry, "nv_inference_queue_duration_us", "Microseconds of waiting").Add(model);
  Counter& nv_compute_us =
      counters(registry, "nv_inference_compute_infer_duration_us", "Microseconds of forward passes")
          .Add(model);
};

Metrics::Metrics(std::string model_name)
    : families_(std::make_unique<Families>(std::move(model_name))) {
  families_->start.Set(static_cast<double>(std::time(nullptr)));
}
Metrics::~Metrics() = default;

void Metrics::count_request(const RequestReport& report) {
  Families& to = *families_;
  std::unique_lock lock(to.methods_mutex);
  Families::Method& method = to.method(report.method);
  to.requests_of(method, report.status).Increment();
  lock.unlock();
  method.duration.Observe(seconds(report.took));
  if (report.error != nullptr)
    to.refused.Add({{"code", std::string(traits(report.error->code()).name)}}).Increment();
  if (report.items == 0) return;

  const bool worked = report.status < 400;
  const std::string why =
      report.error != nullptr ? std::string(traits(report.error->code()).name) : "none";
  method.te_count.Increment();
  to.items.Increment(static_cast<double>(report.items));
  if (!worked) {
    to.te_failure.Add({{"err", why}}).Increment();
    Labels labels = to.model;
    labels.emplace("reason", why);
    to.nv_failure.Add(labels).Increment();
    return;
  }
  method.te_success.Increment();
  to.nv_success.Increment();
  to.nv_count.Increment(static_cast<double>(report.items));
  to.nv_request_us.Increment(1e6 * seconds(report.took));
  to.nv_queue_us.Increment(1e6 * seconds(report.times.queue));
  to.nv_compute_us.Increment(1e6 * seconds(report.times.inference));
  to.te_duration.Observe(seconds(report.took));
  for (Histogram* one : {&to.queue, &to.te_queue}) one->Observe(seconds(report.times.queue));
  for (Histogram* one : {&to.tokenize, &to.te_tokenization})
    one->Observe(seconds(report.times.tokenize));
  for (Histogram* one : {&to.inference, &to.te_inference})
    one->Observe(seconds(report.times.inference));
  to.decode.Observe(seconds(report.times.decode));
}

void Metrics::count_item_error(ErrorCode code) {
  families_->item_errors.Add({{"code", std::string(traits(code).name)}}).Increment();
}

void Metrics::count_batch(const engine::BatchReport& report) {
  Families& to = *families_;
  for (Histogram* one : {&to.batch_rows, &to.te_batch_size})
    one->Observe(static_cast<double>(report.rows));
  for (Histogram* one : {&to.batch_tokens, &to.te_batch_tokens})
    one->Observe(static_cast<double>(report.tokens));
  to.nv_exec.Increment();
}

void Metrics::count_reload(bool worked) {
  families_->reloads.Add({{"result", worked ? "success" : "failure"}}).Increment();
}

void Metrics::connection_opened() { families_->connections.Increment(); }
void Metrics::connection_closed() { families_->connections.Decrement(); }

std::string Metrics::text(const Gauges& gauges) {
  Families& to = *families_;
  for (Gauge* one : {&to.pending_items, &to.te_queue_size, &to.nv_pending})
    one->Set(static_cast<double>(gauges.load.items));
  to.pending_bytes.Set(static_cast<double>(gauges.load.bytes));
  to.wait.Set(std::chrono::duration<double>(gauges.load.wait).count());
  to.held_bytes.Set(static_cast<double>(gauges.held_body_bytes));
  to.lost.Set(static_cast<double>(gauges.log_lines_lost));
  to.ready.Set(gauges.ready ? 1 : 0);
  to.resident.Set(resident_bytes());
  to.cpu.Set(cpu_seconds());
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, to.registry.Collect());
  return std::move(out).str();
}

}  // namespace bifocal::http

#include "engine/engine.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "bifocal/error.h"
#include "cores.h"
#include "engine/drain_rate.h"
#include "engine/fair_turns.h"
#include "engine/forward.h"
#include "engine/item_preparation.h"
#include "job_state.h"
#include "models/fusion_model.h"

namespace bifocal::engine {
namespace {

using JobPointer = std::shared_ptr<JobState>;
using Seconds = std::chrono::duration<double>;

// Prepared work that waits for each worker: enough that none runs dry, little enough that a client
// that comes late is not behind much, and that memory stays small.
constexpr double kReadySecondsAWorker = 0.15;
constexpr std::size_t kReadyRowsAWorker = 64;
constexpr std::size_t kShortText = 16;  // tokens of a caption
// Of a text in a message: escapes ("\u4e00" is often one token) count.
constexpr std::size_t kMostBytesAToken = 8;
constexpr std::size_t kTextsATurn = 8;  // tokenised under one turn: each takes microseconds

struct ReadyRow {
  JobPointer job;
  std::size_t item = 0;
  std::size_t window = 0;
  RowShape shape;
  double price = 0;
  Clock::time_point since;
};

struct Taken {
  JobPointer job;
  std::size_t item = 0;
};

// An average that follows what it is told, the last dozens of observations counting most.
void follow(double& average, double observed) {
  constexpr double kWeight = 0.05;
  average = average == 0 ? observed : average + kWeight * (observed - average);
}

Result<PreparedItem> prepare_safely(const JobState& job, std::size_t item) {
  const JobRequest& request = job.request;
  try {
    return prepare_item(request.items[item], request.options, *request.model, request.decode_limits,
                        request.scaled_decode);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kInternal, "there was not enough memory for this item");
  } catch (const std::exception& unexpected) {
    return Error(ErrorCode::kInternal, "the item could not be read; please report it",
                 unexpected.what());
  }
}

Error overloaded(const std::string& message, double seconds) {
  const auto wait = std::chrono::milliseconds(
      static_cast<std::int64_t>(1000 * std::clamp(seconds, 0.05, 3600.0)) + 1);
  return Error(ErrorCode::kOverloaded, message).retried_after(wait);
}

}  // namespace

class Engine::Threads {
 public:
  explicit Threads(const EngineOptions& options);
  ~Threads();

  JobPointer submit(JobRequest request, const AdmissionLimits* limits);
  void cancel(const JobPointer& job);
  void require_room(const std::string& client, std::size_t bytes,
                    const AdmissionLimits& limits) const;
  EngineLoad load() const;
  std::size_t workers() const noexcept { return worker_count_; }

 private:
  // What one client has that is not finished.
  struct ClientWork {
    std::size_t jobs = 0;
    double price = 0;
  };
  using Done = std::vector<JobPointer>;  // jobs whose last item is finished: told without the lock

  void prepare_loop();
  void work_loop(std::size_t worker);
  bool room_for_ready() const;
  std::vector<Taken> take_items(Done& done);
  void keep_prepared(const Taken& taken, Result<PreparedItem> prepared, Clock::time_point began,
                     Done& done);
  std::vector<ReadyRow> take_batch(std::unique_lock<std::mutex>& lock, Done& done);
  void drop_obsolete_rows(Done& done);
  void keep_values(std::vector<ReadyRow>& batch, std::vector<Result<RowValues>> values,
                   Clock::time_point began, Clock::duration took, Done& done);
  void report(const std::vector<ReadyRow>& batch, Clock::duration took) const;
  void learn_prices(const std::vector<ReadyRow>& batch, Clock::duration took);
  void fail_item(const JobPointer& job, std::size_t item, const Error& error, Done& done);
  void fail_rest(const JobPointer& job, const Error& error, Done& done);
  void finish_item(const JobPointer& job, std::size_t item, Done& done);
  void forget(const JobState& job);
  void count_time(double finished_price);
  double seconds_before(const std::string& client, double price) const;
  void admit_wait(const std::string& client, double price, const AdmissionLimits& limits) const;
  void admit(const JobState& job, const AdmissionLimits& limits) const;
  static void tell(Done& done);

  const EngineOptions options_;
  const std::size_t worker_count_;
  mutable std::mutex mutex_;
  std::condition_variable prepare_wake_, work_wake_;
  bool stopping_ = false;
  FairTurns<JobState> turns_;
  std::deque<ReadyRow> ready_;
  double ready_price_ = 0;
  std::map<std::string, ClientWork> clients_;
  std::size_t pending_items_ = 0;
  std::size_t pending_bytes_ = 0;
  double pending_price_ = 0;
  Prices prices_;
  std::size_t model_tokens_ = 0;  // that the model of the last job reads of a text
  DrainRate rate_;
  std::vector<std::thread> threads_;
};

namespace {

std::size_t threads_per_worker(const EngineOptions& options) {
  return static_cast<std::size_t>(std::max(options.threads_per_worker, 1));
}

std::size_t count_workers(const EngineOptions& options) {
  if (options.workers > 0) return static_cast<std::size_t>(options.workers);
  return std::max<std::size_t>(1, allowed_cores().size() / threads_per_worker(options));
}

}  // namespace

Engine::Threads::Threads(const EngineOptions& options)
    : options_(options),
      worker_count_(count_workers(options)),
      rate_(static_cast<double>(worker_count_)) {
  const std::size_t preparers = options.preparers > 0 ? static_cast<std::size_t>(options.preparers)
                                                      : worker_count_ * threads_per_worker(options);
  for (std::size_t i = 0; i < worker_count_; ++i)
    threads_.emplace_back([this, i] { work_loop(i); });
  for (std::size_t i = 0; i < preparers; ++i) threads_.emplace_back([this] { prepare_loop(); });
}

Engine::Threads::~Threads() {
  Done done;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    const Error error(ErrorCode::kUnavailable, "the engine is stopping; try again in a while");
    while (!turns_.empty()) {
      const JobPointer job = turns_.next();
      fail_rest(job, error, done);
      turns_.put_back(job);
    }
    while (!ready_.empty()) {
      fail_item(ready_.front().job, ready_.front().item, error, done);
      ready_.pop_front();
    }
  }
  tell(done);
  prepare_wake_.notify_all();
  work_wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// --- Coming in --------------------------------------------------------------------------------

// How long what stands before a job of this price takes, when clients share by price, and the jobs
// of one client too: while it is served, each other gets at most as much as it needs itself.
double Engine::Threads::seconds_before(const std::string& client, double price) const {
  double of_client = price, others = pending_price_;
  std::size_t other_clients = clients_.size();
  if (const auto own = clients_.find(client); own != clients_.end()) {
    of_client += std::min(own->second.price, static_cast<double>(own->second.jobs) * price);
    others -= own->second.price;
    --other_clients;
  }
  const double all =
      of_client + std::clamp(others, 0.0, static_cast<double>(other_clients) * of_client);
  return std::max(0.0, all - price) / rate_.per_second();
}

void Engine::Threads::admit_wait(const std::string& client, double price,
                                 const AdmissionLimits& limits) const {
  const double wait = seconds_before(client, price);
  const double most = Seconds(limits.max_wait).count();
  if (limits.max_wait.count() > 0 && wait > most)
    throw overloaded("the wait would be some " + std::to_string(static_cast<int>(1000 * wait)) +
                         " ms, more than the " + std::to_string(limits.max_wait.count()) +
                         " ms allowed; retry after the time given",
                     wait - most / 2);
}

void Engine::Threads::require_room(const std::string& client, std::size_t bytes,
                                   const AdmissionLimits& limits) const {
  const std::lock_guard lock(mutex_);
  if (limits.max_items > 0 && pending_items_ >= limits.max_items)
    throw overloaded("too many items are waiting; retry after the time given",
                     pending_price_ / rate_.per_second() / 2);
  // Many bytes are an image, or text of which a model reads no more than its limit.
  const std::size_t tokens =
      std::min(std::max(kShortText, bytes / kMostBytesAToken), std::max(kShortText, model_tokens_));
  const double as_text = prices_.of(false, tokens);
  const double cheapest =
      bytes / kMostBytesAToken > kShortText ? std::min(as_text, prices_.of(true, 0)) : as_text;
  admit_wait(client, cheapest, limits);
}

void Engine::Threads::admit(const JobState& job, const AdmissionLimits& limits) const {
  const double drain_seconds = pending_price_ / rate_.per_second();
  if (limits.max_items > 0 && pending_items_ + job.items.size() > limits.max_items &&
      pending_items_ > 0)
    throw overloaded("too many items are waiting; retry after the time given",
                     drain_seconds * static_cast<double>(job.items.size()) /
                         static_cast<double>(std::max(pending_items_, job.items.size())));
  if (limits.max_bytes > 0 && pending_bytes_ + job.bytes > limits.max_bytes && pending_items_ > 0)
    throw overloaded("too many bytes are waiting; retry after the time given", drain_seconds / 2);
  admit_wait(job.client(), job.price, limits);
  if (!job.request.deadline) return;
  const double left = Seconds(*job.request.deadline - job.submitted).count();
  const double needed = seconds_before(job.client(), job.price) + job.price / rate_.per_second();
  if (needed > left)
    throw overloaded("this would take some " + std::to_string(static_cast<int>(1000 * needed)) +
                         " ms now, more than the request's own deadline allows; allow more time, "
                         "or retry after the time given",
                     needed - left);
}

JobPointer Engine::Threads::submit(JobRequest request, const AdmissionLimits* limits) {
  Done done;
  JobPointer job;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_)
      throw Error(ErrorCode::kUnavailable, "the engine is stopping; try again in a while");
    if (prices_.image == 0) {
      // A first guess, of some 50 billion multiply-adds a second; batches will tell.
      constexpr double kMultiplyAdds = 50e9;
      prices_.image =
          static_cast<double>(request.model->vision_cost().multiply_adds) / kMultiplyAdds;
      prices_.token =
          static_cast<double>(request.model->text_cost().multiply_adds) / 16 / kMultiplyAdds;
    }
    model_tokens_ = static_cast<std::size_t>(request.model->max_tokens());
    job = std::make_shared<JobState>(std::move(request), prices_);
    if (limits != nullptr) admit(*job, *limits);
    count_time(0);
    if (job->items.empty()) {
      done.push_back(job);
    } else {
      pending_items_ += job->items.size();
      pending_bytes_ += job->bytes;
      pending_price_ += job->price;
      ClientWork& client = clients_[job->client()];
      ++client.jobs;
      client.price += job->price;
      turns_.add(job);
    }
  }
  tell(done);
  prepare_wake_.notify_one();
  return job;
}

void Engine::Threads::cancel(const JobPointer& job) {
  {
    const std::lock_guard lock(mutex_);
    job->cancelled = true;
  }
  // A preparer meets it at its next turn, even where the workers have enough to do.
  prepare_wake_.notify_one();
}

EngineLoad Engine::Threads::load() const {
  const std::lock_guard lock(mutex_);
  const double wait = seconds_before({}, prices_.of(true, kShortText));
  return {pending_items_, pending_bytes_,
          std::chrono::milliseconds(static_cast<std::int64_t>(1000 * wait))};
}

// --- Preparing --------------------------------------------------------------------------------

bool Engine::Threads::room_for_ready() const {
  return ready_price_ < kReadySecondsAWorker * static_cast<double>(worker_count_) &&
         ready_.size() < kReadyRowsAWorker * worker_count_;
}

void Engine::Threads::prepare_loop() {
  for (;;) {
    Done done;
    std::vector<Taken> taken;
    {
      std::unique_lock lock(mutex_);
      prepare_wake_.wait(lock,
                         [this] { return stopping_ || (!turns_.empty() && room_for_ready()); });
      if (stopping_) return;
      taken = take_items(done);
      if (!turns_.empty() && room_for_ready()) prepare_wake_.notify_one();
    }
    tell(done);
    for (const Taken& one : taken) {
      const auto began = Clock::now();
      Result<PreparedItem> prepared = prepare_safely(*one.job, one.item);
      Done finished;
      {
        const std::lock_guard lock(mutex_);
        keep_prepared(one, std::move(prepared), began, finished);
      }
      work_wake_.notify_one();
      tell(finished);
    }
  }
}

// One image, or a few texts, of whoever is next.
std::vector<Taken> Engine::Threads::take_items(Done& done) {
  std::vector<Taken> taken;
  const auto now = Clock::now();
  while (!turns_.empty() && taken.size() < kTextsATurn) {
    const JobPointer job = turns_.next();
    if (const auto why = job->obsolete(now)) {
      fail_rest(job, *why, done);
      turns_.put_back(job);
      continue;
    }
    const std::size_t item = job->next++;
    turns_.put_back(job);
    taken.push_back({job, item});
    if (job->request.items[item].image) break;
  }
  return taken;
}

void Engine::Threads::keep_prepared(const Taken& taken, Result<PreparedItem> prepared,
                                    Clock::time_point began, Done& done) {
  const JobPointer& job = taken.job;
  JobState::ItemState& item = job->items[taken.item];
  job->queued += began - job->submitted;
  if (!prepared.ok()) return fail_item(job, taken.item, prepared.error(), done);
  if (stopping_)
    return fail_item(job, taken.item, Error(ErrorCode::kUnavailable, "the engine is stopping"),
                     done);
  item.prepared = std::move(prepared).value();
  job->decoding += item.prepared->decoding;
  job->tokenizing += item.prepared->tokenizing;
  const std::size_t rows = std::max<std::size_t>(1, item.prepared->windows.size());
  item.windows.resize(rows);
  item.windows_left = rows;
  const auto now = Clock::now();
  for (std::size_t w = 0; w < rows; ++w) {
    const std::size_t tokens =
        item.prepared->windows.empty() ? 0 : item.prepared->windows[w].ids.size();
    const double price = prices_.of(!item.prepared->pixels.empty(), tokens);
    ready_price_ += price;
    ready_.push_back(
        {job,
         taken.item,
         w,
         {job->request.model.get(), job->request.task, item.prepared->provenance.side, tokens},
         price,
         now});
  }
}

// --- Working ----------------------------------------------------------------------------------

void Engine::Threads::work_loop(std::size_t worker) {
  const std::size_t together = threads_per_worker(options_);
  // The worker itself is number 0 of those that share its passes.
  const auto pin = [cores = allowed_cores(), first = worker * together, this](int number) {
    if (options_.pin_workers)
      pin_this_thread(cores[(first + static_cast<std::size_t>(number)) % cores.size()]);
  };
  pin(0);
  const ForwardThread shared(static_cast<int>(together), pin);
  for (;;) {
    Done done;
    std::vector<ReadyRow> batch;
    {
      std::unique_lock lock(mutex_);
      work_wake_.wait(lock, [this] { return stopping_ || !ready_.empty(); });
      if (stopping_) return;
      batch = take_batch(lock, done);
      if (!ready_.empty()) work_wake_.notify_one();
    }
    prepare_wake_.notify_one();
    tell(done);
    if (batch.empty()) continue;

    std::vector<ForwardRow> rows;
    rows.reserve(batch.size());
    for (const ReadyRow& row : batch)
      rows.push_back({&*row.job->items[row.item].prepared, row.window});
    const auto began = Clock::now();
    std::vector<Result<RowValues>> values =
        run_rows(rows, batch.front().job->request.task, *batch.front().job->request.model);
    const Clock::duration took = Clock::now() - began;
    Done finished;
    {
      const std::lock_guard lock(mutex_);
      keep_values(batch, std::move(values), began, took, finished);
    }
    report(batch, took);
    tell(finished);
  }
}

void Engine::Threads::drop_obsolete_rows(Done& done) {
  const auto now = Clock::now();
  std::erase_if(ready_, [&](const ReadyRow& row) {
    const auto why = row.job->obsolete(now);
    if (!why) return false;
    ready_price_ -= row.price;
    fail_item(row.job, row.item, *why, done);
    return true;
  });
}

std::vector<ReadyRow> Engine::Threads::take_batch(std::unique_lock<std::mutex>& lock, Done& done) {
  if (options_.batch_delay.count() > 0)
    work_wake_.wait_until(lock, ready_.front().since + options_.batch_delay, [this] {
      return stopping_ || ready_.empty() ||
             ready_.size() >= options_.batch.max_rows * worker_count_;
    });
  drop_obsolete_rows(done);
  std::vector<RowShape> shapes;
  shapes.reserve(ready_.size());
  for (const ReadyRow& row : ready_) shapes.push_back(row.shape);
  const std::vector<std::size_t> chosen = choose_batch(shapes, options_.batch, worker_count_);
  std::vector<ReadyRow> batch;
  batch.reserve(chosen.size());
  for (const std::size_t i : chosen) {
    batch.push_back(std::move(ready_[i]));
    ready_price_ -= batch.back().price;
  }
  std::erase_if(ready_, [](const ReadyRow& row) { return row.job == nullptr; });
  if (ready_.empty()) ready_price_ = 0;  // no rounding error outlives the rows
  return batch;
}

void Engine::Threads::keep_values(std::vector<ReadyRow>& batch,
                                  std::vector<Result<RowValues>> values, Clock::time_point began,
                                  Clock::duration took, Done& done) {
  learn_prices(batch, took);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const ReadyRow& row = batch[i];
    JobState::ItemState& item = row.job->items[row.item];
    if (item.error) continue;  // given up while it ran: its job may have been told already
    if (row.window == 0) {
      row.job->queued += began - row.since;
      row.job->inferring += took;
    }
    item.windows[row.window] = std::move(values[i]);
    if (--item.windows_left > 0) continue;
    item.prepared->pixels = {};
    finish_item(row.job, row.item, done);
  }
}

void Engine::Threads::learn_prices(const std::vector<ReadyRow>& batch, Clock::duration took) {
  double images = 0, tokens = 0;
  for (const ReadyRow& row : batch) {
    images += row.shape.side == Side::kText ? 0 : 1;
    tokens += static_cast<double>(row.shape.tokens);
  }
  const double seconds = Seconds(took).count();
  if (images == 0)
    follow(prices_.token, seconds / std::max(1.0, tokens));
  else  // the text's share of a fused pass is what texts alone were seen to take
    follow(prices_.image, std::max(0.1 * seconds, seconds - tokens * prices_.token) / images);
}

void Engine::Threads::report(const std::vector<ReadyRow>& batch, Clock::duration took) const {
  if (!options_.on_batch) return;
  BatchReport report{batch.size(), 0, 0, took};
  for (const ReadyRow& row : batch) {
    report.images += row.shape.side == Side::kText ? 0 : 1;
    report.tokens = std::max(report.tokens, row.shape.tokens);
  }
  report.tokens *= batch.size();
  options_.on_batch(report);
}

// --- Going out --------------------------------------------------------------------------------

// Work was there since the last call for as many lanes as there were items.
void Engine::Threads::count_time(double finished_price) {
  const double lanes = static_cast<double>(pending_items_) / static_cast<double>(worker_count_);
  rate_.record(Clock::now(), std::min(1.0, lanes), finished_price);
}

void Engine::Threads::forget(const JobState& job) {
  const auto client = clients_.find(job.client());
  if (--client->second.jobs == 0) clients_.erase(client);
}

void Engine::Threads::finish_item(const JobPointer& job, std::size_t item, Done& done) {
  const double price = job->items[item].price;
  // A failure costs next to nothing, and says nothing of how fast work is done.
  count_time(job->items[item].error ? 0 : price);
  pending_price_ = std::max(0.0, pending_price_ - price);
  --pending_items_;
  ClientWork& client = clients_[job->client()];
  client.price = std::max(0.0, client.price - price);
  if (!job->finish(item)) return;
  pending_bytes_ -= job->bytes;
  forget(*job);
  done.push_back(job);
}

void Engine::Threads::fail_item(const JobPointer& job, std::size_t item, const Error& error,
                                Done& done) {
  JobState::ItemState& state = job->items[item];
  if (state.error) return;  // another window of it failed already
  state.error = error;
  finish_item(job, item, done);
}

void Engine::Threads::fail_rest(const JobPointer& job, const Error& error, Done& done) {
  while (job->has_next()) fail_item(job, job->next++, error, done);
}

void Engine::Threads::tell(Done& done) {
  for (const JobPointer& job : done) {
    JobResult result = job->result();
    job->request.done(std::move(result));
  }
  done.clear();
}

// ----------------------------------------------------------------------------------------------

Engine::Engine(const EngineOptions& options) : threads_(std::make_unique<Threads>(options)) {}
Engine::~Engine() = default;

Ticket Engine::submit(JobRequest request, const AdmissionLimits* limits) {
  return Ticket(threads_->submit(std::move(request), limits));
}

void Engine::cancel(const Ticket& ticket) {
  if (const JobPointer job = ticket.job_.lock()) threads_->cancel(job);
}

void Engine::require_room(const std::string& client, std::size_t bytes,
                          const AdmissionLimits& limits) const {
  threads_->require_room(client, bytes, limits);
}
EngineLoad Engine::load() const { return threads_->load(); }
std::size_t Engine::workers() const noexcept { return threads_->workers(); }

}  // namespace bifocal::engine

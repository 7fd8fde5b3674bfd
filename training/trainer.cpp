#include "training/trainer.h"

#include <ATen/Context.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "bifocal/error.h"
#include "nn/bf16_products.h"
#include "training/checkpoint.h"
#include "training/gradient_buckets.h"
#include "training/metrics_log.h"
#include "training/sampler.h"
#include "training/schedule.h"
#include "training/weight_average.h"

namespace bifocal::training {
namespace {

constexpr double kSmoothing = 0.9;  // of the loss, for seeing a divergence
constexpr int kNamedSamples = 16;

double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// ATen's default generator, which dropout draws from, starts afresh with each batch and rank.
void seed_dropout(const Batch& batch) {
  Random random = batch.random();
  for (std::int64_t rank = 0; rank < batch.group->rank(); ++rank) random.next();
  at::manual_seed(static_cast<std::uint64_t>(random.next()));
}

class Loop {
 public:
  Loop(Trainable& trainable, const LoopSettings& settings, const RunPlace& place,
       const ProcessGroup& group)
      : trainable_(trainable),
        settings_(settings),
        place_(place),
        group_(group),
        sampler_(trainable.sample_count(), settings.batch_size, settings.seed),
        optimizer_(trainable.parameter_groups(), settings.adamw),
        live_(alike(trainable.state(), group)),
        average_(live_, settings.average_decay),
        buckets_(group, optimizer_.groups()),
        processor_start_(processor_seconds()) {
    if (sampler_.batch_size() % static_cast<std::size_t>(group.size()) != 0)
      throw Error(ErrorCode::kInvalidArgument,
                  "batch_size: a batch of " + std::to_string(sampler_.batch_size()) +
                      " cannot be shared by " + std::to_string(group.size()) +
                      " processes alike; choose a multiple");
    const std::int64_t batches = settings.epochs * sampler_.batches_per_epoch();
    total_steps_ = std::max<std::int64_t>(batches / settings.accumulation, 1);
    steps_per_epoch_ =
        std::max<std::int64_t>(sampler_.batches_per_epoch() / settings.accumulation, 1);
    schedule_.total_steps = total_steps_;
    schedule_.warm_up_steps =
        static_cast<std::int64_t>(std::ceil(settings.warm_up * static_cast<double>(total_steps_)));
    schedule_.final_factor = settings.final_rate;
  }

  TrainingResult run() {
    if (place_.resume) resume();
    check_step();
    std::optional<MetricsLog> log;
    if (group_.is_first()) log_ = &log.emplace(place_.directory / "metrics.jsonl", step_);
    auto ended = TrainingResult::Ended::kCompleted;
    trainable_.set_training(true);
    announce(step_);
    started_ = std::chrono::steady_clock::now();
    first_step_ = step_;
    while (step_ < total_steps_) {
      if (settings_.patience > 0 && without_gain_ >= settings_.patience) {
        ended = TrainingResult::Ended::kStoppedEarly;
        break;
      }
      take_step();
      const bool epoch_ends = step_ % (steps_per_epoch_ * settings_.evaluate_every) == 0;
      if (epoch_ends || step_ == total_steps_) evaluate();
      if (anybody(place_.interrupted && place_.interrupted())) {
        ended = TrainingResult::Ended::kInterrupted;
        break;
      }
      if (settings_.checkpoint_every > 0 && step_ % settings_.checkpoint_every == 0) save();
    }
    save();
    if (ended == TrainingResult::Ended::kInterrupted) return result(ended);
    copy_weights(best_.empty() ? average_.average() : best_, live_);
    trainable_.set_training(false);
    return result(ended);
  }

 private:
  Batch batch(std::int64_t number) {
    Batch batch{{},     number, sampler_.epoch_of(number), settings_.seed, sampler_.batch(number),
                &group_};
    const auto share = static_cast<std::int64_t>(batch.whole.size()) / group_.size();
    const auto first = batch.whole.begin() + group_.rank() * share;
    batch.samples.assign(first, first + share);
    return batch;
  }

  static nn::StateDict alike(nn::StateDict state, const ProcessGroup& group) {
    const c10::NoGradGuard no_grad;
    for (auto& [name, tensor] : state) group.broadcast(tensor);
    return state;
  }

  void check_step() const {
    const std::int64_t first =
        std::stoll(group_.from_first([this] { return std::to_string(step_); }));
    if (first != step_)
      throw Error(ErrorCode::kInvalidArgument,
                  place_.directory.string() + ": rank 0 goes on from step " +
                      std::to_string(first) + ", rank " + std::to_string(group_.rank()) + " from " +
                      std::to_string(step_) + "; all ranks need the same run directory");
  }

  // The batches of one step, before they are needed.
  void announce(std::int64_t step) {
    if (step >= total_steps_) return;
    for (std::int64_t i = 0; i < settings_.accumulation; ++i)
      trainable_.prepare(batch(step * settings_.accumulation + i));
  }

  [[noreturn]] void stop(const std::string& what, const std::vector<std::size_t>& samples) const {
    std::string ids;
    for (std::size_t i = 0; i < std::min<std::size_t>(samples.size(), kNamedSamples); ++i)
      ids += (i == 0 ? "" : ", ") + trainable_.sample_id(samples[i]);
    if (samples.size() > kNamedSamples)
      ids += " and " + std::to_string(samples.size() - kNamedSamples) + " more";
    throw Error(ErrorCode::kNumerical,
                settings_.phase + ": " + what + " at step " + std::to_string(step_ + 1) + " of " +
                    std::to_string(total_steps_) + ", in the batch of " + ids +
                    ". Try a lower learning_rate, a longer warm_up, a lower clip_norm" +
                    (settings_.bf16 ? ", or bf16 off" : "") + "; the last checkpoint is in " +
                    place_.directory.string());
  }

  void take_step() {
    StepReport report;
    std::vector<std::size_t> samples;
    optimizer_.zero_gradients();
    for (std::int64_t i = 0; i < settings_.accumulation; ++i) {
      const Batch now = batch(step_ * settings_.accumulation + i);
      if (i + 1 == settings_.accumulation) announce(step_ + 1);
      seed_dropout(now);
      samples.insert(samples.end(), now.whole.begin(), now.whole.end());
      if (i + 1 == settings_.accumulation) buckets_.arm();
      add_gradients(now, report);
    }
    buckets_.finish();
    share(report);
    if (!std::isfinite(report.loss)) stop("the loss is not a number", samples);
    report.gradient_norm = optimizer_.clip_gradients(settings_.clip_norm);
    if (!std::isfinite(report.gradient_norm)) stop("a gradient is not a number", samples);
    check_divergence(report.loss, samples);
    report.rate_factor = schedule_.at(step_);
    optimizer_.step(report.rate_factor);
    trainable_.after_step();
    average_.update();
    items_ += samples.size();
    ++step_;
    tell(report);
  }

  // What is reported becomes the mean over all ranks.
  void share(StepReport& report) const {
    std::vector<double> values{report.loss};
    for (const auto& [name, value] : report.parts) values.push_back(value);
    at::Tensor means = at::tensor(values, at::kDouble);
    group_.sum(means);
    means.div_(static_cast<double>(group_.size()));
    const double* value = means.const_data_ptr<double>();
    report.loss = *value++;
    for (auto& [name, part] : report.parts) part = *value++;
  }

  bool anybody(bool wants) const {
    at::Tensor count = at::tensor({wants ? 1.0 : 0.0}, at::kDouble);
    group_.sum(count);
    return count.item<double>() > 0;
  }

  void add_gradients(const Batch& now, StepReport& report) {
    const double share = 1.0 / static_cast<double>(settings_.accumulation);
    Loss loss;
    {
      std::optional<nn::Bf16Products> products;
      if (settings_.bf16) products.emplace();
      loss = trainable_.loss(now);
    }
    report.loss += share * loss.total.item<double>();
    for (const auto& [name, value] : loss.parts) report.parts[name] += share * value;
    (loss.total * share).backward();
  }

  void check_divergence(double loss, const std::vector<std::size_t>& samples) {
    smoothed_ = step_ == 0 ? loss : kSmoothing * smoothed_ + (1 - kSmoothing) * loss;
    least_smoothed_ = step_ == 0 ? smoothed_ : std::min(least_smoothed_, smoothed_);
    if (settings_.divergence_factor > 0 && least_smoothed_ > 0 &&
        smoothed_ > settings_.divergence_factor * least_smoothed_)
      stop("the loss diverges: it has risen to " + std::to_string(smoothed_) + " from " +
               std::to_string(least_smoothed_),
           samples);
  }

  void tell(StepReport& report) {
    report.step = step_;
    report.total_steps = total_steps_;
    report.epoch = epoch();
    for (const ParameterGroup& group : optimizer_.groups())
      report.learning_rate =
          std::max(report.learning_rate, report.rate_factor * group.learning_rate);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started_;
    const double seconds = std::max(elapsed.count(), 1e-6);
    report.items_per_second = static_cast<double>(items_) / seconds;
    report.seconds_left = seconds * static_cast<double>(total_steps_ - step_) /
                          static_cast<double>(step_ - first_step_);
    if (log_ == nullptr) return;
    for (Observer* observer : place_.observers) observer->on_step(settings_, report);
    if (step_ % settings_.log_every != 0 && step_ != total_steps_) return;
    log_->write({{"event", "step"},
                 {"phase", settings_.phase},
                 {"step", report.step},
                 {"epoch", report.epoch},
                 {"loss", report.loss},
                 {"parts", report.parts},
                 {"learning_rate", report.learning_rate},
                 {"gradient_norm", report.gradient_norm},
                 {"items_per_second", report.items_per_second}});
  }

  void evaluate() {
    EvaluationReport report;
    report.step = step_;
    report.epoch = epoch();
    trainable_.set_training(false);
    {
      const BorrowedWeights borrowed(live_, average_.average());
      report.metrics = nlohmann::json::parse(group_.from_first([this] {
                         return nlohmann::json(trainable_.evaluate()).dump();
                       })).get<Metrics>();
    }
    trainable_.set_training(true);
    judge(report);
    if (log_ == nullptr) return;
    for (Observer* observer : place_.observers) observer->on_evaluation(settings_, report);
    log_->write({{"event", "evaluation"},
                 {"phase", settings_.phase},
                 {"step", report.step},
                 {"epoch", report.epoch},
                 {"metrics", report.metrics},
                 {"best", report.is_best}});
  }

  // Whether these weights are the ones to keep.
  void judge(EvaluationReport& report) {
    if (settings_.metric.empty() || report.metrics.empty()) {
      metrics_ = report.metrics;
      return;
    }
    const auto found = report.metrics.find(settings_.metric);
    if (found == report.metrics.end()) {
      std::string known;
      for (const auto& [name, value] : report.metrics) known += " " + name;
      throw Error(ErrorCode::kInvalidArgument,
                  "metric: there is no \"" + settings_.metric + "\"; there are" + known);
    }
    const double value = settings_.smaller_is_better ? -found->second : found->second;
    report.is_best = !best_value_ || value > *best_value_;
    without_gain_ = report.is_best ? 0 : without_gain_ + 1;
    if (!report.is_best) return;
    best_value_ = value;
    best_step_ = step_;
    best_ = copy_of(average_.average());
    metrics_ = report.metrics;
  }

  double epoch() const {
    return static_cast<double>(step_) / static_cast<double>(steps_per_epoch_);
  }

  double processor_time() const {
    return earlier_seconds_ + processor_seconds() - processor_start_;
  }

  void save() const {
    if (!group_.is_first()) return;
    Checkpoint checkpoint;
    checkpoint.step = step_;
    checkpoint.weights = live_;
    checkpoint.optimizer = optimizer_.state();
    if (settings_.average_decay > 0) checkpoint.average = average_.average();
    checkpoint.best = best_;
    checkpoint.progress = {{"best_step", best_step_},
                           {"without_gain", without_gain_},
                           {"average_updates", average_.updates()},
                           {"smoothed_loss", smoothed_},
                           {"least_smoothed_loss", least_smoothed_},
                           {"metrics", metrics_},
                           {"core_seconds", processor_time()}};
    if (best_value_) checkpoint.progress["best_value"] = *best_value_;
    checkpoint.settings = settings_and_groups();
    save_checkpoint(place_.directory, checkpoint);
  }

  void resume() {
    const std::optional<Checkpoint> checkpoint = load_newest_checkpoint(place_.directory);
    if (!checkpoint) return;
    check_settings(checkpoint->settings);
    step_ = checkpoint->step;
    copy_weights(checkpoint->weights, live_);
    optimizer_.load_state(checkpoint->optimizer);
    const nlohmann::json& progress = checkpoint->progress;
    average_.load(checkpoint->average, progress.at("average_updates").get<std::int64_t>());
    best_ = checkpoint->best;
    best_step_ = progress.at("best_step").get<std::int64_t>();
    if (progress.contains("best_value")) best_value_ = progress.at("best_value").get<double>();
    without_gain_ = progress.at("without_gain").get<std::int64_t>();
    smoothed_ = progress.at("smoothed_loss").get<double>();
    least_smoothed_ = progress.at("least_smoothed_loss").get<double>();
    metrics_ = progress.at("metrics").get<Metrics>();
    earlier_seconds_ = progress.at("core_seconds").get<double>();
  }

  nlohmann::json settings_and_groups() const {
    nlohmann::json json = settings_.to_json();
    for (const ParameterGroup& group : optimizer_.groups())
      json["rate and decay of " + group.name] = {group.learning_rate, group.weight_decay};
    json["samples"] = trainable_.sample_count();
    return json;
  }

  void check_settings(const nlohmann::json& saved) const {
    const nlohmann::json now = settings_and_groups();
    std::string different;
    for (const auto& [key, value] : now.items())
      if (!saved.contains(key) || saved.at(key) != value)
        different += (different.empty() ? "" : ", ") + key + " (was " +
                     (saved.contains(key) ? saved.at(key).dump() : "nothing") + ", is " +
                     value.dump() + ")";
    if (different.empty()) return;
    throw Error(ErrorCode::kInvalidArgument,
                place_.directory.string() + ": was begun with other settings: " + different +
                    "; go on with those, or begin anew without --resume");
  }

  TrainingResult result(TrainingResult::Ended ended) const {
    at::Tensor seconds = at::tensor({processor_time()}, at::kDouble);
    group_.sum(seconds);
    return {ended, step_, best_value_ ? best_step_ : step_, metrics_, seconds.item<double>()};
  }

  Trainable& trainable_;
  const LoopSettings& settings_;
  const RunPlace& place_;
  const ProcessGroup& group_;
  Sampler sampler_;
  AdamW optimizer_;
  nn::StateDict live_;
  WeightAverage average_;
  GradientBuckets buckets_;
  WarmUpCosine schedule_;
  MetricsLog* log_ = nullptr;  // of rank 0 alone

  std::int64_t step_ = 0, total_steps_ = 0, steps_per_epoch_ = 0, first_step_ = 0;
  std::optional<double> best_value_;  // larger is better
  std::int64_t best_step_ = 0, without_gain_ = 0;
  nn::StateDict best_;
  Metrics metrics_;
  double smoothed_ = 0, least_smoothed_ = 0;
  std::size_t items_ = 0;  // since the start of this process
  std::chrono::steady_clock::time_point started_;
  double processor_start_, earlier_seconds_ = 0;
};

}  // namespace

// What decides the weights, if only by settings: a run may go on elsewhere. How often to look or to
// save does not.
nlohmann::json LoopSettings::to_json() const {
  return {{"phase", phase},
          {"seed", seed},
          {"epochs", epochs},
          {"batch_size", batch_size},
          {"accumulation", accumulation},
          {"beta1", adamw.beta1},
          {"beta2", adamw.beta2},
          {"epsilon", adamw.epsilon},
          {"warm_up", warm_up},
          {"final_rate", final_rate},
          {"clip_norm", clip_norm},
          {"average_decay", average_decay},
          {"bf16", bf16},
          {"metric", metric},
          {"smaller_is_better", smaller_is_better},
          {"evaluate_every", evaluate_every},
          {"patience", patience}};
}

TrainingResult train(Trainable& trainable, const LoopSettings& settings, const RunPlace& place) {
  std::filesystem::create_directories(place.directory);
  const ProcessGroup alone;
  trainable.move_to(settings.device);
  const TrainingResult result =
      Loop(trainable, settings, place, place.group != nullptr ? *place.group : alone).run();
  trainable.move_to(at::kCPU);
  return result;
}

}  // namespace bifocal::training

#include "training/process_group.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

using c10d::ProcessGroupGloo;

constexpr std::chrono::minutes kPatienceToStart(5);
constexpr std::chrono::minutes kPatience(30);  // between steps, an evaluation included
constexpr std::chrono::seconds kFarewell(5);
constexpr std::chrono::hours kPatienceForFirst(48);  // rank 0 may encode a large data set

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

std::string needed(const char* name) {
  if (auto value = variable(name)) return *std::move(value);
  throw Error(ErrorCode::kInvalidArgument,
              std::string(name) +
                  " is not set, but WORLD_SIZE is: a run of several processes needs "
                  "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, which `torchrun "
                  "--no-python` sets");
}

std::int64_t number(const char* name, std::int64_t least, std::int64_t most) {
  const std::string text = needed(name);
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (*end != '\0' || value < least || value > most)
    throw Error(ErrorCode::kInvalidArgument,
                std::string(name) + ": \"" + text + "\" is not a number from " +
                    std::to_string(least) + " to " + std::to_string(most));
  return value;
}

[[noreturn]] void lost(std::int64_t rank, const std::string& during, const std::string& detail) {
  throw Error(ErrorCode::kIo,
              "rank " + std::to_string(rank) + ": another rank was lost or does not answer (" +
                  during + "); look at its own message, start all ranks again, and add --resume",
              detail);
}

std::shared_ptr<gloo::transport::Device> device_for(const std::string& address) {
  if (const auto interface = variable("GLOO_SOCKET_IFNAME"))
    return ProcessGroupGloo::createDeviceForInterface(*interface);
  if (address == "localhost" || address.starts_with("127."))
    return ProcessGroupGloo::createDeviceForHostname(address);
  return ProcessGroupGloo::createDefaultDevice();
}

}  // namespace

struct ProcessGroup::Connection {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<ProcessGroupGloo> gloo;

  // Waits for what has begun.
  static void finish(std::int64_t rank, const char* during,
                     const c10::intrusive_ptr<c10d::Work>& work) {
    try {
      work->wait();
    } catch (const std::exception& error) {
      lost(rank, during, error.what());
    }
  }

  at::Tensor gather(std::int64_t rank, const at::Tensor& own) const {
    const at::Tensor rows = own.cpu().contiguous();
    std::vector<std::vector<at::Tensor>> parts(1);
    for (int i = 0; i < gloo->getSize(); ++i) parts[0].push_back(at::empty_like(rows));
    std::vector<at::Tensor> sent{rows};
    try {
      finish(rank, "gathering", gloo->allgather(parts, sent));
    } catch (const c10::Error& error) {
      lost(rank, "gathering", error.what());
    }
    return at::cat(parts[0]).to(own.device());
  }
};

namespace {

class Gather : public torch::autograd::Function<Gather> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& own,
                            const std::function<at::Tensor(const at::Tensor&)>& gather,
                            const ProcessGroup* group) {
    context->saved_data["group"] = reinterpret_cast<std::int64_t>(group);
    context->saved_data["rows"] = own.size(0);
    return gather(own);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto* group = reinterpret_cast<const ProcessGroup*>(context->saved_data["group"].toInt());
    const std::int64_t rows = context->saved_data["rows"].toInt();
    at::Tensor all = gradients[0].contiguous().clone();
    group->sum(all);
    return {all.narrow(0, group->rank() * rows, rows), {}, {}};
  }
};

class GlooSum : public ProcessGroup::Sum {
 public:
  // `travelling` is `values` itself, or on the host a copy of it.
  GlooSum(std::int64_t rank, c10::intrusive_ptr<c10d::Work> work, at::Tensor values,
          at::Tensor travelling)
      : rank_(rank),
        work_(std::move(work)),
        values_(std::move(values)),
        travelling_(std::move(travelling)) {}
  void wait() override {
    try {
      work_->wait();
    } catch (const std::exception& error) {
      lost(rank_, "summing", error.what());
    }
    if (!travelling_.is_same(values_)) values_.copy_(travelling_);
  }

 private:
  std::int64_t rank_;
  c10::intrusive_ptr<c10d::Work> work_;
  at::Tensor values_, travelling_;
};

class NothingToSum : public ProcessGroup::Sum {
 public:
  void wait() override {}
};

}  // namespace

ProcessGroup::ProcessGroup() = default;

ProcessGroup::~ProcessGroup() {
  if (!connection_) return;
  // The store lives in rank 0: it stays until the others have had their last answer.
  const auto farewell = [](std::int64_t rank) { return "left " + std::to_string(rank); };
  try {
    if (!is_first()) connection_->store->set(farewell(rank_), std::vector<std::uint8_t>{1});
    for (std::int64_t other = 1; is_first() && other < size_; ++other)
      connection_->store->wait({farewell(other)}, kFarewell);
  } catch (const std::exception&) {
    // Whoever is lost says nothing.
  }
}

std::unique_ptr<ProcessGroup> ProcessGroup::from_environment() {
  auto group = std::make_unique<ProcessGroup>();
  if (!variable("WORLD_SIZE")) return group;
  group->size_ = number("WORLD_SIZE", 1, 4096);
  group->rank_ = number("RANK", 0, group->size_ - 1);
  if (group->size_ == 1) return group;
  const std::string address = needed("MASTER_ADDR");
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(number("MASTER_PORT", 1, 65535));
  // torchrun's agent has a store already, which outlives its workers.
  const bool agent = variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
  options.isServer = group->rank_ == 0 && !agent;
  options.numWorkers = static_cast<std::size_t>(group->size_);
  options.waitWorkers = !agent;
  options.timeout = kPatienceToStart;
  try {
    auto connection = std::make_unique<Connection>();
    connection->store = c10::make_intrusive<c10d::TCPStore>(address, options);
    if (agent)
      connection->store = c10::make_intrusive<c10d::PrefixStore>(
          "bifocal " + variable("TORCHELASTIC_RESTART_COUNT").value_or("0"), connection->store);
    auto gloo = ProcessGroupGloo::Options::create(kPatienceToStart);
    gloo->devices.push_back(device_for(address));
    connection->gloo = c10::make_intrusive<ProcessGroupGloo>(
        connection->store, static_cast<int>(group->rank_), static_cast<int>(group->size_), gloo);
    connection->store->setTimeout(kPatience);
    connection->gloo->setTimeout(kPatience);
    group->connection_ = std::move(connection);
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kIo,
                "rank " + std::to_string(group->rank_) + " of " + std::to_string(group->size_) +
                    " did not find the others through " + address + ":" +
                    std::to_string(options.port) +
                    "; start all ranks with the same MASTER_ADDR and MASTER_PORT",
                error.what());
  }
  return group;
}

at::Tensor ProcessGroup::gather(const at::Tensor& own) const {
  if (!connection_) return own;
  return Gather::apply(
      own, [this](const at::Tensor& rows) { return connection_->gather(rank_, rows); }, this);
}

std::unique_ptr<ProcessGroup::Sum> ProcessGroup::begin_sum(at::Tensor& values) const {
  if (!connection_) return std::make_unique<NothingToSum>();
  std::vector<at::Tensor> tensors{values.cpu()};
  try {
    auto work = connection_->gloo->allreduce(tensors);
    return std::make_unique<GlooSum>(rank_, std::move(work), values, tensors.front());
  } catch (const std::exception& error) {
    lost(rank_, "summing", error.what());
  }
}

void ProcessGroup::sum(at::Tensor& values) const { begin_sum(values)->wait(); }

void ProcessGroup::broadcast(at::Tensor& values) const {
  if (!connection_) return;
  std::vector<at::Tensor> tensors{values.cpu()};
  try {
    Connection::finish(rank_, "broadcasting", connection_->gloo->broadcast(tensors));
  } catch (const c10::Error& error) {
    lost(rank_, "broadcasting", error.what());
  }
  if (!tensors.front().is_same(values)) values.copy_(tensors.front());
}

std::string ProcessGroup::from_first(const std::function<std::string()>& make) const {
  if (!connection_) return make();
  std::string text;
  at::Tensor length = at::full({1}, 0, at::kLong);
  if (is_first()) {
    text = make();
    length.fill_(static_cast<std::int64_t>(text.size()));
  }
  broadcast(length);
  text.resize(static_cast<std::size_t>(length.item<std::int64_t>()));
  if (text.empty()) return text;
  at::Tensor bytes = at::empty({length.item<std::int64_t>()}, at::kByte);
  if (is_first()) std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<std::uint8_t>());
  broadcast(bytes);
  const auto* received = bytes.const_data_ptr<std::uint8_t>();
  text.assign(received, received + text.size());
  return text;
}

void ProcessGroup::first_then_others(const std::function<void()>& act) {
  if (is_first()) act();
  if (!connection_) return;
  const std::string done = "first has done " + std::to_string(turns_++);
  try {
    if (is_first())
      connection_->store->set(done, std::vector<std::uint8_t>{1});
    else
      connection_->store->wait({done}, kPatienceForFirst);
  } catch (const std::exception& error) {
    lost(rank_, "waiting for rank 0", error.what());
  }
  if (!is_first()) act();
}

}  // namespace bifocal::training

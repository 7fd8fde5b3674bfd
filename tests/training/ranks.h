#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "nn/weights.h"
#include "training/checkpoint.h"
#include "training/process_group.h"
#include "training/run.h"

namespace bifocal::testing {

inline int free_port() {
  const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(probe, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(probe);
  return ntohs(address.sin_port);
}

// Runs `act` in so many processes that form a group on loopback. -> how each ended, as waitpid(2)
// says: 0 where it returned, exit status 1 (and a line on stderr) where it threw.
inline std::vector<int> in_ranks(int size,
                                 const std::function<void(training::ProcessGroup&)>& act) {
  const std::string port = std::to_string(free_port());
  std::vector<pid_t> ranks;
  for (int rank = 0; rank < size; ++rank) {
    const pid_t child = ::fork();
    if (child != 0) {
      ranks.push_back(child);
      continue;
    }
    int status = 0;
    try {
      at::set_num_threads(1);
      ::setenv("RANK", std::to_string(rank).c_str(), 1);
      ::setenv("WORLD_SIZE", std::to_string(size).c_str(), 1);
      ::setenv("MASTER_ADDR", "127.0.0.1", 1);
      ::setenv("MASTER_PORT", port.c_str(), 1);
      const auto group = training::ProcessGroup::from_environment();
      act(*group);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
      status = 1;
    }
    std::fflush(nullptr);
    ::_exit(status);
  }
  std::vector<int> ends;
  for (const pid_t rank : ranks) {
    int end = 0;
    ::waitpid(rank, &end, 0);
    ends.push_back(end);
  }
  return ends;
}

// For what is checked within a rank, where GoogleTest's assertions would be lost.
inline void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error("not so: " + what);
}

// Of a run of one process and of one of several, tensor by tensor: a gradient within rounding of
// zero may be stepped either way, so it is each tensor as a whole that must agree. `undone` ends
// the names of tensors whose gradient is nothing but rounding, since what follows undoes them.
inline void expect_same_run(const nn::StateDict& one, const nn::StateDict& several,
                            const std::string& phase, const std::string& undone = "") {
  ASSERT_EQ(one.size(), several.size()) << phase;
  for (const auto& [name, tensor] : one) {
    if (!undone.empty() && name.ends_with(undone)) continue;
    const auto compared = [&name = name](const at::Tensor& whole) {
      // A key's bias has no gradient but rounding, which Adam makes steps of.
      if (!name.ends_with("qkv.bias")) return whole;
      return at::cat({whole.chunk(3)[0], whole.chunk(3)[2]});
    };
    const at::Tensor expected = compared(tensor);
    const double error = (compared(several.at(name)) - expected).norm().item<double>();
    EXPECT_LE(error, 1e-4 + 1e-4 * expected.norm().item<double>()) << phase << " " << name;
  }
}

// Whatever a phase says that it trains had a gradient, and was stepped.
inline void expect_all_stepped(const std::filesystem::path& phase) {
  const auto checkpoint = training::load_newest_checkpoint(phase);
  ASSERT_TRUE(checkpoint) << phase;
  for (const auto& [name, tensor] : checkpoint->optimizer) {
    if (!name.starts_with("steps.")) continue;
    EXPECT_GT(tensor.item<double>(), 0) << phase << " " << name;
  }
}

// Runs `config`(out), of one process and of two, and compares the weights after each phase, a
// directory of OUT.training.
inline void expect_two_train_as_one(
    const std::filesystem::path& directory,
    const std::function<training::TrainConfig(const std::string& out)>& config,
    const std::vector<std::string>& phases) {
  training::run_training(config("one"), {});
  EXPECT_THAT(in_ranks(2,
                       [&](training::ProcessGroup& group) {
                         training::RunOptions options;
                         options.group = &group;
                         training::run_training(config("two"), options);
                       }),
              ::testing::Each(0));
  const auto weights = [&](const std::string& out, const std::string& phase) {
    return training::load_newest_checkpoint(directory / (out + ".training") / phase)->weights;
  };
  for (const std::string& phase : phases)
    expect_same_run(weights("one", phase), weights("two", phase), phase);
}

}  // namespace bifocal::testing

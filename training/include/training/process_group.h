#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace bifocal::training {

// The processes that train one model together, each on its share of every batch (data-parallel), as
// ranks 0 to size - 1 of a c10d group: TCPStore to find one another, Gloo to exchange tensors.
//
// Every call is made by all ranks in the same order, and waits for the others. Where a rank is lost
// or does not answer, it throws Error(kIo) on those that are left, naming what they waited for. A
// process that is alone is a group of size 1, whose calls return at once. Tensors may be on any
// device; what travels goes through the memory of the host. Used by one thread.
class ProcessGroup {
 public:
  ProcessGroup();  // alone
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  // What RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say, which torchrun sets; alone without
  // WORLD_SIZE. GLOO_SOCKET_IFNAME names the network interface. Waits for all ranks to come. Throws
  // Error: kInvalidArgument where a variable is missing or wrong, kIo where the others do not come.
  static std::unique_ptr<ProcessGroup> from_environment();

  std::int64_t rank() const noexcept { return rank_; }
  std::int64_t size() const noexcept { return size_; }
  bool is_first() const noexcept { return rank_ == 0; }

  // own [n, ...], n the same on all ranks -> [size * n, ...] in the order of ranks. The gradient of
  // the own rows is the sum of all ranks' gradients of them.
  at::Tensor gather(const at::Tensor& own) const;
  // In place, to the sum over all ranks.
  void sum(at::Tensor& values) const;
  // The same, while the caller goes on; `values` is the sum once wait() was called.
  class Sum {
   public:
    virtual ~Sum() = default;
    virtual void wait() = 0;
  };
  std::unique_ptr<Sum> begin_sum(at::Tensor& values) const;
  // In place, to what rank 0 has.
  void broadcast(at::Tensor& values) const;
  // What rank 0's `make` returns, on every rank; it is called there alone.
  std::string from_first(const std::function<std::string()>& make) const;
  // Rank 0 acts, then the others: what is made once and found by the rest.
  void first_then_others(const std::function<void()>& act);

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;  // none: alone
  std::int64_t rank_ = 0, size_ = 1;
  std::int64_t turns_ = 0;  // calls of first_then_others()
};

}  // namespace bifocal::training

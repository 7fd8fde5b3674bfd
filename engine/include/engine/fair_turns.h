#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace bifocal::engine {

// Whose item is next. The client that was served least, by price, goes first; one that comes back
// after a pause starts level with the others. The jobs of one client take turns item by item, so a
// large one does not hold up a small one. A simple form of start-time fair queueing (Goyal, Vin and
// Cheng 1996). `Job` has `client()`, `has_next()` and `price_of_next()`. Not thread-safe.
template <typename Job>
class FairTurns {
 public:
  using Pointer = std::shared_ptr<Job>;

  bool empty() const noexcept { return clients_.empty(); }

  void add(Pointer job) {
    if (!job->has_next()) return;
    auto [client, is_new] = clients_.try_emplace(job->client());
    if (is_new) client->second.served = level_;
    client->second.jobs.push_back(std::move(job));
  }

  // The job whose next item goes now; the caller takes that item before it calls again. Only where
  // not empty.
  Pointer next() {
    const auto client = std::min_element(
        clients_.begin(), clients_.end(),
        [](const auto& a, const auto& b) { return a.second.served < b.second.served; });
    std::deque<Pointer>& jobs = client->second.jobs;
    Pointer job = std::move(jobs.front());
    jobs.pop_front();
    level_ = client->second.served;
    client->second.served += job->price_of_next();
    return job;
  }

  // Puts the job that next() gave back in line for its further items, if it has any.
  void put_back(Pointer job) {
    const auto client = clients_.find(job->client());
    if (job->has_next()) client->second.jobs.push_back(std::move(job));
    if (client->second.jobs.empty()) clients_.erase(client);
  }

 private:
  struct Client {
    double served = 0;
    std::deque<Pointer> jobs;
  };
  std::map<std::string, Client> clients_;
  double level_ = 0;  // what the client in turn had been served
};

}  // namespace bifocal::engine

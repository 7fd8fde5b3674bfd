#pragma once

#include <vector>

namespace bifocal::engine {

// The cores that this process may use, which a container or taskset may have made fewer than the
// machine has; never empty.
std::vector<int> allowed_cores();

// Keeps the calling thread on one core. Where the system refuses, the thread stays as it was.
void pin_this_thread(int core) noexcept;

}  // namespace bifocal::engine

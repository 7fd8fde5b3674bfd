#pragma once

#include <functional>
#include <memory>

#include "settings.h"

namespace bifocal::http {

// Serves until SIGTERM or SIGINT, then stops accepting, ends what is in hand within
// shutdown-grace-ms, and returns. SIGHUP reads bundle, keys and certificate again and opens the log
// file anew. Tells on the log where it listens. Throws Error for what does not load, and kIo where
// the address cannot be listened on. One at a time in a process: the signals are the process's.
void serve(const Settings& settings);

// Loads and checks all that serve() would, listens nowhere. Throws Error.
void check_serving(const Settings& settings);

}  // namespace bifocal::http

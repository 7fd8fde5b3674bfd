#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bifocal/options.h"
#include "log.h"

namespace bifocal::http {

// What a server is started with. The table in settings.cpp says of each what it means, which values
// it takes, and how it is called as a flag, in a file and in the environment.
struct Settings {
  std::string host = "127.0.0.1";
  int port = 8080;
  int connection_threads = 2;
  std::size_t max_connections = 16384;

  std::string model;
  std::vector<std::string> model_names;
  Precision precision = Precision::kFp32;
  bool tune = false;
  bool scaled_decode = false;
  bool verify_checksums = true;
  bool packed_weights = true;
  int threads = 0;
  int threads_per_worker = 1;
  int preparers = 0;
  bool pin_workers = true;
  std::size_t batch_max_images = 4, batch_max_rows = 32, batch_max_tokens = 512;
  std::chrono::microseconds batch_delay{0};

  std::size_t max_items = 2048, max_images = 256, max_json_depth = 32;
  std::int64_t max_pixels = 50'000'000;
  std::size_t max_image_bytes = 20'000'000;
  std::chrono::milliseconds max_wait{2000};
  std::size_t max_pending_items = 8192, max_pending_bytes = std::size_t{512} << 20;
  std::chrono::milliseconds request_timeout{60'000};
  std::size_t max_header_bytes = 16384;
  std::size_t max_body_bytes = std::size_t{64} << 20;
  std::size_t max_expanded_bytes = std::size_t{64} << 20;
  std::size_t max_inflight_bytes = std::size_t{512} << 20;
  std::chrono::milliseconds header_timeout{10'000}, body_timeout{60'000}, idle_timeout{75'000},
      write_timeout{60'000}, shutdown_grace{30'000};
  std::size_t min_body_rate = 1024;

  std::string api_keys;
  double rate_limit = 0;
  std::string tls_certificate, tls_key;
  std::vector<std::string> cors_origins;

  std::vector<std::string> url_hosts, url_networks;
  std::size_t url_max_bytes = 20'000'000;
  std::chrono::milliseconds url_timeout{10'000};
  std::string url_ca_file;

  std::string index;
  std::size_t index_capacity = 100'000, hnsw_threshold = 50'000;

  Log::Level log_level = Log::Level::kInfo;
  std::string log_file;
};

// One row of the table.
struct Setting {
  std::string name;   // "max-items": --max-items, BIFOCAL_MAX_ITEMS, max_items in a file
  std::string group;  // "Limits"
  std::string help;
  std::string takes;  // what its value may be: "1 to 65535"
  bool is_list = false;
  // Throws Error(kInvalidArgument) saying what is allowed.
  std::function<void(Settings&, const std::vector<std::string>&)> set;
  std::function<std::string(const Settings&)> show;
};
std::span<const Setting> settings_table();

// Values by the name of their setting, as their source gives them.
using Values = std::map<std::string, std::vector<std::string>>;
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// A TOML (*.toml) or JSON (*.json) file of keys as in the table, with underscores. Throws Error:
// kNotFound, kInvalidArgument naming the file and the key.
Values read_settings_file(const std::string& path);

// Flags before the file before the environment before the defaults. Throws
// Error(kInvalidArgument) naming where the value came from and what is allowed.
Settings read_settings(const Values& flags, const std::string& file,
                       const Environment& environment);

std::string settings_markdown();  // the table of docs/serving.md

}  // namespace bifocal::http

#include "settings.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <sstream>
#include <type_traits>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, what);
}

const std::string& only(const std::vector<std::string>& values) {
  if (values.size() != 1) refuse("takes one value");
  return values.front();
}

std::string name_of(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

template <typename T>
T number(const std::string& text, double low, double high) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() ||
      !(static_cast<double>(value) >= low && static_cast<double>(value) <= high))
    refuse("is \"" + text + "\"; it takes " + std::to_string(static_cast<std::int64_t>(low)) +
           " to " + std::to_string(static_cast<std::int64_t>(high)));
  return value;
}

Setting row(const char* name, const char* group, const char* help) {
  Setting setting;
  setting.name = name;
  setting.group = group;
  setting.help = help;
  return setting;
}

template <typename T>
Setting counted(const char* name, const char* group, T Settings::*field, double low, double high,
                const char* help) {
  Setting setting = row(name, group, help);
  setting.takes = std::to_string(static_cast<std::int64_t>(low)) + " to " +
                  std::to_string(static_cast<std::int64_t>(high));
  setting.set = [=](Settings& settings, const std::vector<std::string>& values) {
    settings.*field = number<T>(only(values), low, high);
  };
  setting.show = [=](const Settings& settings) {
    if constexpr (std::is_floating_point_v<T>)
      return name_of(settings.*field);
    else
      return std::to_string(settings.*field);
  };
  return setting;
}

template <typename Unit>
Setting timed(const char* name, const char* group, Unit Settings::*field, const char* help) {
  constexpr double kDay = 86'400'000;
  Setting setting = row(name, group, help);
  setting.takes = "0 to 86400000";
  setting.set = [=](Settings& settings, const std::vector<std::string>& values) {
    settings.*field = Unit(number<std::int64_t>(only(values), 0, kDay));
  };
  setting.show = [=](const Settings& settings) {
    return std::to_string((settings.*field).count());
  };
  return setting;
}

Setting text(const char* name, const char* group, std::string Settings::*field, const char* help) {
  Setting setting = row(name, group, help);
  setting.takes = "text";
  setting.set = [=](Settings& settings, const std::vector<std::string>& values) {
    settings.*field = only(values);
  };
  setting.show = [=](const Settings& settings) { return settings.*field; };
  return setting;
}

Setting texts(const char* name, const char* group, std::vector<std::string> Settings::*field,
              const char* help) {
  Setting setting = row(name, group, help);
  setting.takes = "a list";
  setting.is_list = true;
  setting.set = [=](Settings& settings, const std::vector<std::string>& values) {
    settings.*field = values;
  };
  setting.show = [](const Settings&) { return std::string(); };
  return setting;
}

template <typename T>
Setting chosen(const char* name, const char* group, T Settings::*field,
               std::vector<std::pair<std::string, T>> choices, const char* help) {
  Setting setting = row(name, group, help);
  for (const auto& [word, value] : choices)
    setting.takes += (setting.takes.empty() ? "" : ", ") + word;
  setting.set = [=, takes = setting.takes](Settings& settings,
                                           const std::vector<std::string>& values) {
    for (const auto& [word, value] : choices)
      if (word == only(values)) {
        settings.*field = value;
        return;
      }
    refuse("is \"" + only(values) + "\"; it takes " + takes);
  };
  setting.show = [=](const Settings& settings) {
    for (const auto& [word, value] : choices)
      if (value == settings.*field) return word;
    return std::string();
  };
  return setting;
}

Setting flag(const char* name, const char* group, bool Settings::*field, const char* help) {
  return chosen<bool>(name, group, field, {{"true", true}, {"false", false}}, help);
}

std::vector<Setting> make_table() {
  using S = Settings;
  constexpr double kMany = 1e9, kBytes = 1e12;
  return {
      text("host", "Listening", &S::host, "Address to listen on; 0.0.0.0 or :: for all"),
      counted("port", "Listening", &S::port, 0, 65535, "Port; 0: one that is free"),
      counted("connection-threads", "Listening", &S::connection_threads, 1, 256,
              "Threads that read requests and write answers"),
      counted("max-connections", "Listening", &S::max_connections, 1, 1e6,
              "Connections open at once"),
      text("tls-certificate", "Listening", &S::tls_certificate,
           "Certificate chain in PEM; with it HTTPS (TLS 1.2, 1.3) is served, and nothing else"),
      text("tls-key", "Listening", &S::tls_key, "The certificate's private key in PEM"),
      texts("cors-origin", "Listening", &S::cors_origins,
            "Origins whose pages may call the server; * for all"),

      text("model", "Model", &S::model,
           "Bundle to serve; without one $BIFOCAL_MODEL, then the default bundle"),
      texts("model-name", "Model", &S::model_names,
            "Names by which requests may call the model; the first is told"),
      chosen<Precision>(
          "precision", "Model", &S::precision,
          {{"fp32", Precision::kFp32},
           {"bf16", Precision::kBf16},
           {"int8", Precision::kInt8},
           {"auto", Precision::kAuto}},
          "What the model computes in; auto takes the faster of fp32 and bf16 on this CPU"),
      flag("tune", "Model", &S::tune,
           "Time this CPU's kernels anew; else what was found before is taken"),
      flag("scaled-decode", "Model", &S::scaled_decode,
           "Decode large JPEGs at a fraction of their sides: faster, and vectors differ a little"),
      flag("verify-checksums", "Model", &S::verify_checksums,
           "Compare the bundle's files with their SHA-256 when it is loaded"),
      flag("packed-weights", "Model", &S::packed_weights,
           "Keep weights packed for this CPU in the bundle's packed/, for the next start"),
      counted("threads", "Model", &S::threads, 0, 1024,
              "Workers; 0: one a core, or for threads-per-worker cores"),
      counted("threads-per-worker", "Model", &S::threads_per_worker, 1, 64,
              "Threads that share a forward pass: answers come sooner, and fewer at a time"),
      counted("preparers", "Model", &S::preparers, 0, 1024,
              "Threads that decode and tokenise; 0: as many as compute"),
      flag("pin-workers", "Model", &S::pin_workers, "Keep each worker on a core of its own"),
      counted("batch-max-images", "Model", &S::batch_max_images, 1, 1024,
              "Images of one forward pass"),
      counted("batch-max-rows", "Model", &S::batch_max_rows, 1, 4096, "Texts of one forward pass"),
      counted("batch-max-tokens", "Model", &S::batch_max_tokens, 1, 1e6,
              "Tokens of one forward pass, padding counted"),
      timed("batch-delay-us", "Model", &S::batch_delay,
            "Microseconds that an idle worker waits for a batch to fill"),

      counted("max-items", "Limits", &S::max_items, 1, kMany, "Items of a request"),
      counted("max-images", "Limits", &S::max_images, 1, kMany, "Images of a request"),
      counted("max-pixels", "Limits", &S::max_pixels, 1, kBytes, "Pixels of an image"),
      counted("max-image-bytes", "Limits", &S::max_image_bytes, 1, kBytes,
              "Bytes of an encoded image"),
      counted("max-json-depth", "Limits", &S::max_json_depth, 1, 1000, "Levels of a JSON body"),
      counted("max-header-bytes", "Limits", &S::max_header_bytes, 256, 1 << 20,
              "Bytes of a request's header"),
      counted("max-body-bytes", "Limits", &S::max_body_bytes, 1, kBytes,
              "Bytes of a request's body"),
      counted("max-expanded-bytes", "Limits", &S::max_expanded_bytes, 1, kBytes,
              "Bytes that a compressed body may expand to"),
      counted("max-inflight-bytes", "Limits", &S::max_inflight_bytes, 1, kBytes,
              "Bytes of all bodies in memory at once"),
      counted("max-pending-items", "Limits", &S::max_pending_items, 1, kMany,
              "Items that wait at once, of all requests"),
      counted("max-pending-bytes", "Limits", &S::max_pending_bytes, 1, kBytes,
              "Bytes of the items that wait"),
      timed("max-wait-ms", "Limits", &S::max_wait,
            "Refuse at once what would wait longer, by the measured rate; 0: nothing"),
      timed("request-timeout-ms", "Limits", &S::request_timeout,
            "Deadline of a request that names none, and the latest that it may name"),
      timed("header-timeout-ms", "Limits", &S::header_timeout,
            "A request's header, and a TLS handshake, must arrive within"),
      timed("body-timeout-ms", "Limits", &S::body_timeout, "A body must arrive within"),
      counted("min-body-rate", "Limits", &S::min_body_rate, 0, kMany,
              "Bytes a second below which a body is too slow, after 5 s; 0: none"),
      timed("idle-timeout-ms", "Limits", &S::idle_timeout, "Close a connection idle for"),
      timed("write-timeout-ms", "Limits", &S::write_timeout, "An answer must be taken within"),
      timed("shutdown-grace-ms", "Limits", &S::shutdown_grace,
            "Time for the requests in hand when the server stops"),

      text("api-keys", "Access", &S::api_keys,
           "File of API keys (see --new-key); without one no key is asked for"),
      counted("rate-limit", "Access", &S::rate_limit, 0, kMany,
              "Requests a minute of a key, or of an address; 0: no limit"),

      texts("url-host", "Images by URL", &S::url_hosts,
            "Hosts that images may be fetched from: a name, *.name, or *; none: no fetching"),
      texts("url-network", "Images by URL", &S::url_networks,
            "Networks (CIDR) that are allowed although they are private"),
      counted("url-max-bytes", "Images by URL", &S::url_max_bytes, 1, kBytes,
              "Bytes of a fetched image"),
      timed("url-timeout-ms", "Images by URL", &S::url_timeout, "An image must be fetched within"),
      text("url-ca-file", "Images by URL", &S::url_ca_file,
           "Certificates to trust (PEM) instead of the system's"),

      text("index", "Search", &S::index,
           "Vectors to search, as `bifocal embed --output vectors.npy` writes them"),
      counted("index-capacity", "Search", &S::index_capacity, 0, kMany,
              "Items that may be added while serving"),
      counted("hnsw-threshold", "Search", &S::hnsw_threshold, 1, kMany,
              "Rows of the index from which search is approximate"),

      chosen<Log::Level>("log-level", "Log", &S::log_level,
                         {{"debug", Log::Level::kDebug},
                          {"info", Log::Level::kInfo},
                          {"warning", Log::Level::kWarning},
                          {"error", Log::Level::kError}},
                         "The least that is logged"),
      text("log-file", "Log", &S::log_file, "File to log to; standard error without one"),
  };
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream stream(list);
  for (std::string part; std::getline(stream, part, ',');)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

std::string environment_name(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return "BIFOCAL_" + name;
}

void apply(const Setting& setting, const std::vector<std::string>& values,
           const std::string& source, Settings& settings) {
  try {
    setting.set(settings, values);
  } catch (const Error& error) {
    throw Error(error.code(), source + " " + error.message());
  }
}

// What no single setting can say.
void check_together(const Settings& settings) {
  if (settings.tls_certificate.empty() != settings.tls_key.empty())
    refuse("tls-certificate and tls-key go together: give both or neither");
  if (settings.connection_threads < 1) refuse("connection-threads must be at least 1");
  if (settings.url_hosts.empty() && !settings.url_networks.empty())
    refuse("url-network allows networks, but no url-host allows fetching");
}

}  // namespace

std::span<const Setting> settings_table() {
  static const std::vector<Setting> table = make_table();
  return table;
}

Settings read_settings(const Values& flags, const std::string& file,
                       const Environment& environment) {
  const Values from_file = file.empty() ? Values() : read_settings_file(file);
  Settings settings;
  for (const Setting& setting : settings_table()) {
    const std::string variable = environment_name(setting.name);
    if (const auto flag = flags.find(setting.name); flag != flags.end()) {
      apply(setting, flag->second, "--" + setting.name, settings);
    } else if (const auto key = from_file.find(setting.name); key != from_file.end()) {
      std::string written = setting.name;
      std::replace(written.begin(), written.end(), '-', '_');
      apply(setting, key->second, file + ": " + written, settings);
    } else if (const auto value = environment(variable)) {
      apply(setting, setting.is_list ? split(*value) : std::vector{*value}, variable, settings);
    }
  }
  check_together(settings);
  return settings;
}

std::string settings_markdown() {
  const Settings defaults;
  std::string markdown =
      "| setting | default | takes | what it does |\n| --- | --- | --- | --- |\n";
  std::string group;
  for (const Setting& setting : settings_table()) {
    if (setting.group != group) {
      group = setting.group;
      markdown += "| **" + group + "** | | | |\n";
    }
    const std::string shown = setting.show(defaults);
    markdown += "| `" + setting.name + "` | " + (shown.empty() ? "" : "`" + shown + "`") + " | " +
                setting.takes + " | " + setting.help + " |\n";
  }
  return markdown;
}

}  // namespace bifocal::http

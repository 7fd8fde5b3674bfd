#pragma once

#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace bifocal::testing {

// A ustar header and its data, padded to whole blocks. `type` '0': a regular file.
inline std::string tar_member(std::string_view name, std::string_view data, char type = '0',
                              std::string_view link = {}, std::string_view prefix = {}) {
  std::string header(512, '\0');
  const auto put = [&](std::size_t at, std::string_view text) {
    std::memcpy(header.data() + at, text.data(), text.size());
  };
  char number[16];
  put(0, name);
  put(100, "0000644");
  std::snprintf(number, sizeof number, "%011zo", data.size());
  put(124, number);
  put(148, "        ");
  header[156] = type;
  put(157, link);
  put(257, std::string_view("ustar\0"
                            "00",
                            8));
  put(345, prefix);
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  std::snprintf(number, sizeof number, "%06o", sum);
  put(148, std::string_view(number, 7));
  std::string member = header + std::string(data);
  member.resize((member.size() + 511) / 512 * 512, '\0');
  return member;
}

inline std::string tar_end() { return std::string(1024, '\0'); }

// One record of a pax header: its length counts itself.
inline std::string pax_record(const std::string& key, const std::string& value) {
  std::size_t length = key.size() + value.size() + 3;
  length += std::to_string(length).size();
  if (std::to_string(length).size() + key.size() + value.size() + 3 != length) ++length;
  return std::to_string(length) + " " + key + "=" + value + "\n";
}

}  // namespace bifocal::testing

#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "bifocal/result.h"
#include "json_lines.h"
#include "output.h"

namespace bifocal::cli {

// Where the results of a command go, one a record, in order.
template <typename T>
class ResultWriter {
 public:
  virtual ~ResultWriter() = default;
  virtual void write(const nlohmann::json& id, const Result<T>& result) = 0;
  virtual void flush() = 0;   // hands on what is written so far
  virtual void commit() = 0;  // all is written: the output takes its place
  // Interrupted: leaves whole lines beside the output's place and says where, if it can.
  virtual std::filesystem::path keep_unfinished() = 0;
};

// {"id":...,<what `append_value` writes of the value>} or {"id":...,"error":{...}}
template <typename T>
class JsonLinesWriter : public ResultWriter<T> {
 public:
  using AppendValue = std::function<void(std::string& line, const T& value)>;

  JsonLinesWriter(const std::filesystem::path& path, AppendValue append_value)
      : output_(path), append_value_(std::move(append_value)) {}

  void write(const nlohmann::json& id, const Result<T>& result) override {
    line_ = "{\"id\":";
    append_json(line_, id);
    line_ += ',';
    if (result.ok()) {
      append_value_(line_, result.value());
    } else {
      line_ += "\"error\":";
      append_error(line_, result.error());
    }
    line_ += "}\n";
    output_.write(line_);
  }
  void flush() override { output_.flush(); }
  void commit() override { output_.commit(); }
  std::filesystem::path keep_unfinished() override { return output_.keep_unfinished(); }

 private:
  Output output_;
  AppendValue append_value_;
  std::string line_;
};

}  // namespace bifocal::cli

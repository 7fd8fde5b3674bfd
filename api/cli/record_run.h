#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <functional>
#include <iostream>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "bifocal/model.h"
#include "interrupt.h"
#include "model_options.h"
#include "progress.h"
#include "records.h"
#include "result_writer.h"

namespace bifocal::cli {

// What every command over items is told.
struct RunOptions {
  ModelOptions model;
  ItemOptions items;
  std::filesystem::path output = "-";
  bool provenance = false;
  bool quiet = false;
};

void add_run_options(CLI::App& app, RunOptions& options);

// How many records came to what.
struct Tally {
  std::size_t done = 0;
  std::size_t failed = 0;
  std::size_t cut_texts = 0;  // of those done
};

// "3 done, 1 failed", and what the user may want to know beside it, on standard error.
void report(const Tally& tally, const std::filesystem::path& unfinished, bool interrupted);
// 0, or the one code that says that some records failed while the others are done.
int exit_code(const Tally& tally) noexcept;

// Results in the order of `records`: those that could not be read keep their error, the others are
// served together.
template <typename T>
std::vector<Result<T>> serve_records(
    std::vector<Record> records,
    const std::function<std::vector<Result<T>>(std::span<const Item>)>& serve) {
  std::vector<Item> items;
  for (Record& record : records)
    if (record.item.ok()) items.push_back(std::move(record.item).value());
  std::vector<Result<T>> served = serve(items);

  std::vector<Result<T>> results;
  std::size_t next = 0;
  for (const Record& record : records) {
    if (record.item.ok())
      results.push_back(std::move(served[next++]));
    else
      results.emplace_back(record.item.error());
  }
  return results;
}

// What a command does with a model: how it serves items, and where it writes what they came to.
template <typename T>
struct Service {
  std::function<std::vector<Result<T>>(std::span<const Item>)> serve;
  std::unique_ptr<ResultWriter<T>> writer;
};

// Reads, serves and writes, a chunk at a time. An error of the single item of --image and --text is
// thrown; those of records stay in their places.
template <typename T>
int run_records(const RunOptions& options,
                const std::function<Service<T>(const Model&)>& make_service) {
  require_items(options.items);
  const bool single = options.items.input.empty();
  const Interrupt interrupt;
  RecordReader reader(options.items, options.model.load.max_image_bytes, interrupt);
  const Model model = load_model(options.model);
  const Service<T> service = make_service(model);

  Tally tally;
  {
    Progress progress(!single && !options.quiet, options.output != "-");
    while (!interrupt.requested()) {
      std::vector<Record> records = reader.next_chunk();
      if (records.empty()) break;
      std::vector<nlohmann::json> ids;
      ids.reserve(records.size());
      for (const Record& record : records) ids.push_back(record.id);
      const auto results = serve_records<T>(std::move(records), service.serve);
      for (std::size_t i = 0; i < results.size(); ++i) {
        if (single && !results[i].ok()) throw results[i].error();
        service.writer->write(ids[i], results[i]);
        ++(results[i].ok() ? tally.done : tally.failed);
        if (results[i].ok() && results[i].value().provenance.cut_tokens > 0) ++tally.cut_texts;
      }
      service.writer->flush();
      progress.show(tally.done + tally.failed, reader.fraction_read());
    }
  }
  const bool interrupted = interrupt.requested();
  std::filesystem::path unfinished;
  if (interrupted)
    unfinished = service.writer->keep_unfinished();
  else
    service.writer->commit();
  if (!options.quiet && (!single || interrupted || tally.cut_texts > 0))
    report(tally, unfinished, interrupted);
  return interrupted ? interrupt.exit_code() : exit_code(tally);
}

}  // namespace bifocal::cli

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bifocal/error.h"
#include "command.h"
#include "engine/session.h"
#include "long_run.h"
#include "model_options.h"
#include "output.h"
#include "training/evaluation/bundle_evaluation.h"
#include "training/evaluation/contrast_controls.h"
#include "training/records.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  bifocal evaluate --data flickr8k --split dev              all that this data can tell
  bifocal evaluate --data flowers/ --task classes           a class a folder, or a table
  bifocal evaluate --data pairs.jsonl --json figures.json   for a program as well

--data is a JSONL or CSV table ("image", "text" or "captions", "label" or "labels", "split"), a tar,
or a folder with a class a sub-folder. Records that cannot be used are skipped, counted and listed.
Figures are percentages with the interval that holds 95 of 100 samples like this one (bootstrap).
Tasks that the data or the bundle has nothing for are left out of "all".)";

using training::BundleEvaluation;
using training::Section;

struct EvaluateOptions {
  ModelOptions model;
  std::filesystem::path data, json;
  std::filesystem::path controls;  // contrasts that controls are trained on; empty: no controls
  training::RecordOptions records;
  training::EvaluationOptions evaluation;
  std::vector<std::string> tasks{"all"};
  std::string label_set;
  std::size_t limit = 0;
  bool quiet = false;
};

// A task, whether the data has what it needs, and how it is done.
struct Task {
  const char* name;
  bool (BundleEvaluation::*possible)() const;
  std::vector<Section> (*run)(const BundleEvaluation&, const EvaluateOptions&,
                              const models::FusionModel&);
};

std::size_t find_label_set(const std::vector<fusion::LabelSet>& sets, const std::string& name) {
  if (name.empty() && sets.size() == 1) return 0;
  std::string known;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    if (sets[i].name == name) return i;
    known += (known.empty() ? "" : ", ") + sets[i].name;
  }
  throw Error(ErrorCode::kInvalidArgument,
              sets.empty() ? "the bundle has no label set"
              : name.empty()
                  ? "the bundle has several label sets; name one with --label-set: " + known
                  : "there is no label set \"" + name + "\"; the bundle has " + known);
}

const std::vector<Task>& tasks() {
  static const std::vector<Task> all{
      {"retrieval", &BundleEvaluation::has_retrieval,
       [](const BundleEvaluation& evaluation, const EvaluateOptions&, const models::FusionModel&) {
         return evaluation.retrieval();
       }},
      {"match", &BundleEvaluation::has_match,
       [](const BundleEvaluation& evaluation, const EvaluateOptions&, const models::FusionModel&) {
         return evaluation.match();
       }},
      {"fused", &BundleEvaluation::has_fused,
       [](const BundleEvaluation& evaluation, const EvaluateOptions&, const models::FusionModel&) {
         return evaluation.fused();
       }},
      {"classes", &BundleEvaluation::has_classes,
       [](const BundleEvaluation& evaluation, const EvaluateOptions& options,
          const models::FusionModel& model) {
         return evaluation.classes(
             find_label_set(model.fusion_config().label_sets, options.label_set));
       }},
      {"contrasts", &BundleEvaluation::has_contrasts,
       [](const BundleEvaluation& evaluation, const EvaluateOptions& options,
          const models::FusionModel& model) {
         if (options.controls.empty()) return std::vector<Section>{evaluation.contrasts()};
         const training::SetEncoder encoder(model, options.model.load.threads);
         const BundleEvaluation train(encoder, training::RecordSet::open(options.controls),
                                      options.evaluation);
         return std::vector<Section>{
             evaluation.contrasts(training::contrast_controls(train, evaluation))};
       }},
  };
  return all;
}

bool wanted(const EvaluateOptions& options, const std::string& task) {
  const auto& tasks = options.tasks;
  return std::find(tasks.begin(), tasks.end(), task) != tasks.end() ||
         std::find(tasks.begin(), tasks.end(), "all") != tasks.end();
}
bool named(const EvaluateOptions& options, const std::string& task) {
  return std::find(options.tasks.begin(), options.tasks.end(), task) != options.tasks.end();
}

training::RecordSet read_records(const EvaluateOptions& options) {
  training::RecordSet records = training::RecordSet::open(options.data, options.records);
  if (options.limit == 0 || options.limit >= records.size()) return records;
  std::vector<std::size_t> first(options.limit);
  for (std::size_t i = 0; i < first.size(); ++i) first[i] = i;
  training::RecordSet some = records.subset(first);
  for (const training::Skipped& skipped : records.skipped())
    some.skip(skipped.where, skipped.reason);
  return some;
}

void list_skipped(const std::vector<training::Skipped>& skipped) {
  if (skipped.empty()) return;
  std::cerr << skipped.size() << " records were skipped:\n";
  for (const training::Skipped& record : skipped)
    std::cerr << "  " << record.where << ": " << record.reason << '\n';
}

int run(const EvaluateOptions& options) {
  LongRun work(options.quiet);
  const training::RecordSet records = read_records(options);
  engine::EngineOptions idle;  // the session only loads: encoding has threads of its own
  idle.workers = idle.preparers = 1;
  const auto session = engine::Session::open(bundle_path(options.model), options.model.load,
                                             std::make_shared<engine::Engine>(idle));
  const models::FusionModel& model = session.model();
  const training::SetEncoder encoder(model, options.model.load.threads, work.progress());
  nlohmann::ordered_json json{{"model", session.info().name},
                              {"bundle", session.info().path.string()}};
  return work.run([&] {
    const BundleEvaluation evaluation(encoder, records, options.evaluation);
    json["data"] = {{"path", options.data.string()},
                    {"records", evaluation.records().size()},
                    {"images", evaluation.images()},
                    {"texts", evaluation.texts()},
                    {"texts_cut", evaluation.cut_texts()}};
    for (const training::Skipped& skipped : evaluation.records().skipped())
      json["skipped"].push_back({{"where", skipped.where}, {"reason", skipped.reason}});
    bool any = false;
    for (const Task& task : tasks()) {
      if (!wanted(options, task.name)) continue;
      if (!named(options, task.name) && !(evaluation.*task.possible)()) continue;
      for (const Section& section : task.run(evaluation, options, model)) {
        if (options.json != "-") print((any ? "\n" : "") + section.to_text());
        json["tasks"][section.name] = section.to_json();
        any = true;
      }
    }
    list_skipped(evaluation.records().skipped());
    if (!any)
      throw Error(ErrorCode::kInvalidArgument,
                  options.data.string() +
                      ": holds nothing that this bundle can be measured on: "
                      "images with texts, or labels of its label set");
    if (!options.json.empty()) {
      Output output(options.json);
      output.write(json.dump(1) + "\n");
      output.commit();
    }
    return 0;
  });
}

}  // namespace

Command add_evaluate(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("evaluate", "Measure a bundle on your data, as a table and as JSON");
  app->footer(kFooter);
  auto options = std::make_shared<EvaluateOptions>();
  add_model_option(*app, options->model);
  add_thread_option(*app, options->model);
  add_precision_option(*app, options->model);
  app->add_option("--data", options->data, "A JSONL, CSV or tar file, or a folder")
      ->type_name("FILE")
      ->required();
  app->add_option("--images", options->records.images,
                  "Where the images of a table are, if not beside it:\na tar or a folder")
      ->type_name("FILE");
  app->add_option("--split", options->records.split,
                  "Only the records of this split (val, valid and dev\nare \"validation\")")
      ->type_name("NAME");
  app->add_option("--limit", options->limit, "Only the first so many records")->type_name("N");
  std::vector<std::string> names{"all"};
  std::string words = "all";
  for (const Task& task : tasks()) {
    names.emplace_back(task.name);
    words += "|" + names.back();
  }
  app->add_option("--task", options->tasks, "What to measure; may be repeated")
      ->check([names, words](const std::string& given) {
        return std::find(names.begin(), names.end(), given) != names.end()
                   ? std::string()
                   : "\"" + given + "\" is not one of " + words;
      })
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name(words)
      ->default_str("all");
  app->add_option("--json", options->json,
                  "The figures as JSON too; -: only as JSON, to\nstandard output")
      ->type_name("FILE");
  app->add_option("--controls", options->controls,
                  "Contrasts: train what sees pooled vectors alone on\nthose of this file, and "
                  "compare with it")
      ->type_name("FILE");
  app->add_option("--label-set", options->label_set, "Which of the bundle's label sets")
      ->type_name("NAME");
  app->add_option("--rerank", options->evaluation.rerank,
                  "Retrieval: so many candidates are put in order by the\nmatch head; 0: none")
      ->type_name("N")
      ->default_str("20");
  app->add_option("--resamples", options->evaluation.bootstrap.resamples,
                  "Bootstrap samples of each interval; 0: no intervals")
      ->type_name("N")
      ->default_str("1000");
  app->add_option("--seed", options->evaluation.seed, "Of random choices and of the bootstrap")
      ->type_name("N")
      ->default_str("1");
  app->add_option("--max-skipped", options->records.max_skipped_share,
                  "Give up where more than this share of the records\ncannot be used")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("SHARE")
      ->default_str("0.1");
  app->add_flag("--quiet", options->quiet, "No progress");
  return {app, [options] {
            options->evaluation.bootstrap.seed = options->evaluation.seed;
            return run(*options);
          }};
}

}  // namespace bifocal::cli

#include "record_run.h"

#include "bifocal/error.h"

namespace bifocal::cli {

void add_run_options(CLI::App& app, RunOptions& options) {
  add_item_options(app, options.items);
  app.add_option("--output", options.output, "Where to write; - is standard output")
      ->type_name("FILE")
      ->default_str("-");
  app.add_flag("--provenance", options.provenance,
               "Add what was done to get the numbers: tokens read and cut,\nwindows, image size");
  app.add_flag("--quiet", options.quiet, "No progress and no summary on standard error");
  add_model_option(app, options.model);
  add_thread_option(app, options.model);
  add_sharing_option(app, options.model);
  add_precision_option(app, options.model);
  add_limit_options(app, options.model);
}

void report(const Tally& tally, const std::filesystem::path& unfinished, bool interrupted) {
  std::cerr << "bifocal: " << (interrupted ? "interrupted: " : "") << tally.done << " done, "
            << tally.failed << " failed";
  if (tally.cut_texts > 0)
    std::cerr << "; " << tally.cut_texts << (tally.cut_texts == 1 ? " text was" : " texts were")
              << " longer than the model reads and cut";
  std::cerr << '\n';
  if (!unfinished.empty())
    std::cerr << "bifocal: what is done lies in " << unfinished.string() << '\n';
}

int exit_code(const Tally& tally) noexcept {
  return tally.failed == 0 ? 0 : traits(ErrorCode::kInvalidItem).exit_code;
}

}  // namespace bifocal::cli

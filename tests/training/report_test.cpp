#include "training/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/files.h"
#include "temporary_directory.h"

namespace bifocal::training {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;

std::vector<Json> lines() {
  return {Json::parse(R"({"event": "step", "phase": "class head", "epoch": 0.5, "loss": 1.5})"),
          Json::parse(R"({"event": "evaluation", "phase": "class head", "epoch": 1,
                      "metrics": {"accuracy": 50, "loss": 0.7}})"),
          Json::parse(R"({"event": "figures", "title": "Classes", "rows":
                      {"fused": {"records": 4, "top-1": {"value": 75, "low": 50, "high": 100}}},
                      "details": {"labels": ["<cat>", "dog"], "fused": {
                        "confusion": [[2, 1], [0, 1]], "classes": {
                        "<cat>": {"support": 3, "predicted": 2, "precision": 1, "recall": 0.667, "f1": 0.8},
                        "dog": {"support": 1, "predicted": 2, "precision": 0.5, "recall": 1, "f1": 0.667}}}}})"),
          Json::parse(R"({"event": "seeds", "metric": "accuracy", "values": [70, 80], "mean": 75,
                      "deviation": 7.07})"),
          Json::parse(R"({"event": "calibration", "when": "before", "error": 12.5,
                      "bins": [{"count": 4, "confidence": 0.9, "accuracy": 0.75}]})"),
          Json::parse(R"({"event": "mistake", "id": "a<b>.jpg", "truth": "<cat>", "given": "dog",
                      "probability": 0.1, "thumbnail": "data:image/jpeg;base64,AAAA"})"),
          Json::parse(R"({"event": "something else"})")};
}

TEST(Report, ShowsEveryPartAndNeedsNoOtherFile) {
  const std::string page = render_report("my <model>", lines());
  EXPECT_THAT(page, HasSubstr("my &lt;model&gt;"));
  EXPECT_THAT(page, HasSubstr("75.0 (50.0 to 100.0)"));
  EXPECT_THAT(page, HasSubstr("Confusion matrix"));
  EXPECT_THAT(page, HasSubstr("66.7"));
  EXPECT_THAT(page, HasSubstr("mean 75.00, standard deviation 7.07"));
  EXPECT_THAT(page, HasSubstr("before: error 12.5 %"));
  EXPECT_THAT(page, HasSubstr("data:image/jpeg;base64,AAAA"));
  EXPECT_THAT(page, HasSubstr("a&lt;b&gt;.jpg"));
  EXPECT_THAT(page, HasSubstr("training loss"));
  EXPECT_THAT(page, Not(HasSubstr("<cat>")));
  for (const char* outside : {"<script", "<link", "src=\"http", "url("})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
}

TEST(Report, IsDrawnFromTheLinesThatAreWritten) {
  const testing::TemporaryDirectory directory;
  core::write_file_atomically(directory / "metrics.jsonl", lines()[0].dump() + "\n{\"cut sho");
  write_report(directory.path(), "m", {directory / "metrics.jsonl"}, {lines()[2]});
  EXPECT_EQ(core::read_text_file(directory / "report.jsonl"),
            lines()[0].dump() + "\n" + lines()[2].dump() + "\n");
  EXPECT_EQ(core::read_text_file(directory / "report.html"),
            render_report("m", {lines()[0], lines()[2]}));
}

}  // namespace
}  // namespace bifocal::training

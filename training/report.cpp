#include "training/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <utility>

#include "core/files.h"
#include "training/chart.h"
#include "training/model_card.h"

namespace bifocal::training {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kStyle = R"(
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1120px; margin: 2em auto; padding: 0 1em; }
svg { font: 11px system-ui, sans-serif; background: #fff; margin: 0 1em 1em 0; max-width: 100%; height: auto; }
svg .title { font-weight: 600; font-size: 13px; }
svg .axis { stroke: #444; } svg .grid { stroke: #e4e4e4; } svg .ideal { stroke: #888; stroke-dasharray: 4 3; }
svg .bar { fill: #56b4e9; }
table { border-collapse: collapse; margin: 0 0 1.5em; } th, td { padding: .2em .6em; text-align: right; }
th { border-bottom: 1px solid #999; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; } .confusion td { border: 1px solid #eee; min-width: 2em; }
figure { display: inline-block; width: 150px; margin: 0 1em 1em 0; vertical-align: top; font-size: 13px; overflow-wrap: anywhere; }
figure img { display: block; max-width: 150px; margin-bottom: .3em; }
)";

bool is(const Json& line, const char* event) { return line.value("event", "") == event; }

std::string cell(const std::string& text, const char* tag = "td") {
  return "<" + std::string(tag) + ">" + escape_html(text) + "</" + tag + ">";
}

double number_or_nan(const Json& value) {
  return value.is_number() ? value.get<double>() : std::nan("");
}

// Phases in the order of the log, each with a curve of the loss and one of every metric.
void add_curves(std::ostringstream& page, const std::vector<Json>& lines) {
  std::vector<std::string> phases;
  std::map<std::string, Series> loss;
  std::map<std::string, std::map<std::string, Series>> metrics;
  for (const Json& line : lines) {
    const std::string phase = line.value("phase", "");
    if (is(line, "step")) {
      if (!loss.contains(phase)) phases.push_back(phase);
      Series& series = loss[phase];
      series.name = "loss";
      series.points.emplace_back(line.at("epoch").get<double>(), number_or_nan(line.at("loss")));
    } else if (is(line, "evaluation")) {
      for (const auto& [name, value] : line.at("metrics").items()) {
        Series& series = metrics[phase][name];
        series.name = name;
        series.points.emplace_back(line.at("epoch").get<double>(), number_or_nan(value));
      }
    }
  }
  for (const std::string& phase : phases) {
    page << "<h2>" << escape_html(phase) << "</h2>\n"
         << line_chart("training loss", "epoch", {loss[phase]});
    // What is a percentage, and what is not, on charts of their own.
    std::vector<Series> shares;
    for (auto& [name, series] : metrics[phase]) {
      if (name == "loss" || name == "rsum")
        page << line_chart("validation " + name, "epoch", {series});
      else
        shares.push_back(series);
    }
    if (!shares.empty()) page << line_chart("validation, percent", "epoch", shares);
    page << "\n";
  }
}

std::string shown(const Json& value) {
  if (value.is_null()) return "";
  if (!value.is_object()) return short_number(value.get<double>());
  std::string text = fixed(value.at("value").get<double>());
  if (value.contains("low") && value.at("low").is_number())
    text += " (" + fixed(value.at("low").get<double>()) + " to " +
            fixed(value.at("high").get<double>()) + ")";
  return text;
}

void add_table(std::ostringstream& page, const Json& figures) {
  page << "<h2>" << escape_html(figures.at("title").get<std::string>()) << "</h2>\n<table><tr>"
       << cell("", "th");
  std::vector<std::string> columns;
  for (const auto& [name, row] : figures.at("rows").items())
    for (const auto& [column, value] : row.items())
      if (std::find(columns.begin(), columns.end(), column) == columns.end())
        columns.push_back(column);
  for (const std::string& column : columns) page << cell(column, "th");
  page << "</tr>\n";
  for (const auto& [name, row] : figures.at("rows").items()) {
    page << "<tr>" << cell(name);
    for (const std::string& column : columns)
      page << cell(row.contains(column) ? shown(row.at(column)) : "");
    page << "</tr>\n";
  }
  page << "</table>\n";
}

void add_classes(std::ostringstream& page, const Json& details) {
  const Json& fused = details.at("fused");
  const auto labels = details.at("labels").get<std::vector<std::string>>();
  page << "<h2>Each class</h2>\n<table><tr>" << cell("", "th");
  for (const char* column : {"records", "given", "precision", "recall", "F1"})
    page << cell(column, "th");
  page << "</tr>\n";
  for (const std::string& label : labels) {
    const Json& row = fused.at("classes").at(label);
    page << "<tr>" << cell(label);
    for (const char* key : {"support", "predicted"}) page << cell(row.at(key).dump());
    for (const char* key : {"precision", "recall", "f1"})
      page << cell(fixed(100 * row.at(key).get<double>()));
    page << "</tr>\n";
  }
  page << "</table>\n";
  if (!fused.contains("confusion")) return;
  const auto confusion = fused.at("confusion").get<std::vector<std::vector<double>>>();
  page << "<h2>Confusion matrix</h2>\n<p>A row is a true class, a column what was given.</p>\n"
          "<div class=\"scroll\"><table class=\"confusion\"><tr>"
       << cell("", "th");
  for (const std::string& label : labels) page << cell(label, "th");
  page << "</tr>\n";
  for (std::size_t truth = 0; truth < labels.size(); ++truth) {
    double all = 0;
    for (const double count : confusion[truth]) all += count;
    page << "<tr>" << cell(labels[truth]);
    for (std::size_t given = 0; given < labels.size(); ++given) {
      const double count = confusion[truth][given];
      const char* colour = given == truth ? "0, 158, 115" : "213, 94, 0";
      page << "<td style=\"background: rgba(" << colour << ", "
           << short_number(all > 0 ? 0.8 * count / all : 0) << ")\">" << short_number(count)
           << "</td>";
    }
    page << "</tr>\n";
  }
  page << "</table></div>\n";
}

void add_calibration(std::ostringstream& page, const std::vector<Json>& lines) {
  bool any = false;
  for (const Json& line : lines) {
    if (!is(line, "calibration")) continue;
    if (!any) page << "<h2>Calibration</h2>\n";
    any = true;
    std::vector<ReliabilityBin> bins;
    for (const Json& bin : line.at("bins"))
      bins.push_back({bin.at("count").get<std::size_t>(), bin.at("confidence").get<double>(),
                      bin.at("accuracy").get<double>()});
    page << reliability_diagram(line.at("when").get<std::string>() + ": error " +
                                    fixed(line.at("error").get<double>()) + " %",
                                bins);
  }
  if (any) page << "\n";
}

void add_mistakes(std::ostringstream& page, const std::vector<Json>& lines) {
  bool any = false;
  for (const Json& line : lines) {
    if (!is(line, "mistake")) continue;
    if (!any) page << "<h2>Most wrong</h2>\n";
    any = true;
    page << "<figure>";
    if (line.contains("thumbnail"))
      page << "<img alt=\"\" src=\"" << escape_html(line.at("thumbnail").get<std::string>())
           << "\">";
    page << "<figcaption><b>" << escape_html(line.at("truth").get<std::string>()) << "</b>, given "
         << escape_html(line.at("given").get<std::string>()) << "; "
         << fixed(100 * line.at("probability").get<double>()) << " % for the truth<br>"
         << escape_html(line.at("id").get<std::string>()) << "</figcaption></figure>\n";
  }
}

void add_seeds(std::ostringstream& page, const Json& line) {
  page << "<p>" << escape_html(line.at("metric").get<std::string>()) << " of "
       << line.at("values").size() << " seeds: mean " << fixed(line.at("mean").get<double>(), 2)
       << ", standard deviation " << fixed(line.at("deviation").get<double>(), 2) << " (";
  bool first = true;
  for (const Json& value : line.at("values")) {
    page << (first ? "" : ", ") << fixed(value.get<double>(), 2);
    first = false;
  }
  page << ")</p>\n";
}

}  // namespace

std::string render_report(std::string_view title, const std::vector<Json>& lines) {
  std::ostringstream page;
  page << "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>"
       << escape_html(title) << "</title><style>" << kStyle << "</style></head>\n<body>\n<h1>"
       << escape_html(title) << "</h1>\n";
  for (const Json& line : lines) {
    if (is(line, "seeds")) add_seeds(page, line);
    if (!is(line, "figures")) continue;
    add_table(page, line);
    if (line.contains("details") && line.at("details").contains("fused"))
      add_classes(page, line.at("details"));
  }
  add_calibration(page, lines);
  add_mistakes(page, lines);
  add_curves(page, lines);
  page << "</body></html>\n";
  return page.str();
}

void write_report(const std::filesystem::path& run, std::string_view title,
                  const std::vector<std::filesystem::path>& logs, const std::vector<Json>& lines) {
  std::vector<Json> all;
  for (const std::filesystem::path& log : logs) {
    std::istringstream text(core::read_text_file(log));
    for (std::string line; std::getline(text, line);)
      if (Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false); json.is_object())
        all.push_back(std::move(json));
  }
  all.insert(all.end(), lines.begin(), lines.end());
  std::string text;
  for (const Json& line : all) text += line.dump() + "\n";
  core::write_file_atomically(run / "report.jsonl", text);
  core::write_file_atomically(run / "report.html", render_report(title, all));
}

}  // namespace bifocal::training

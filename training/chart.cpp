#include "training/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

namespace bifocal::training {
namespace {

constexpr double kWidth = 520, kHeight = 260;
constexpr double kLeft = 56, kRight = 12, kTop = 28, kBottom = 40;
constexpr int kTicks = 5;

// Distinct for the colour-blind too (Okabe and Ito 2008).
constexpr std::array<const char*, 7> kColours{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                              "#e69f00", "#56b4e9", "#333333"};

std::string coordinate(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

// Values to places on the page.
struct Axis {
  double low, high;   // of the values
  double start, end;  // of the page

  double at(double value) const { return start + (value - low) / (high - low) * (end - start); }
};

// The step between ticks: 1, 2 or 5 times a power of ten.
double tick_step(double range) {
  const double rough = range / kTicks;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) return factor * power;
  return 10 * power;
}

Axis fitted(double low, double high, double start, double end) {
  if (!(high > low)) {
    const double around = std::max(std::abs(low) * 0.1, 1e-9);
    low -= around;
    high += around;
  }
  return {low, high, start, end};
}

std::string line(double x1, double y1, double x2, double y2, const char* kind) {
  return "<line class=\"" + std::string(kind) + "\" x1=\"" + coordinate(x1) + "\" y1=\"" +
         coordinate(y1) + "\" x2=\"" + coordinate(x2) + "\" y2=\"" + coordinate(y2) + "\"/>";
}

std::string text(double x, double y, const char* anchor, std::string_view content) {
  return "<text x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" text-anchor=\"" + anchor +
         "\">" + escape_html(content) + "</text>";
}

std::string opened(std::string_view title, double width, double height) {
  return "<svg role=\"img\" aria-label=\"" + escape_html(title) + "\" viewBox=\"0 0 " +
         coordinate(width) + " " + coordinate(height) + "\" width=\"" + coordinate(width) +
         "\" height=\"" + coordinate(height) + "\">" + "<text class=\"title\" x=\"" +
         coordinate(width / 2) + "\" y=\"16\" text-anchor=\"middle\">" + escape_html(title) +
         "</text>";
}

std::string ticks(const Axis& x, const Axis& y) {
  std::string svg;
  const double y_step = tick_step(y.high - y.low);
  for (double value = std::ceil(y.low / y_step) * y_step; value <= y.high + y_step * 1e-6;
       value += y_step) {
    svg += line(x.start, y.at(value), x.end, y.at(value), "grid");
    svg += text(x.start - 6, y.at(value) + 4, "end",
                short_number(std::abs(value) < y_step * 1e-6 ? 0 : value));
  }
  const double x_step = tick_step(x.high - x.low);
  for (double value = std::ceil(x.low / x_step) * x_step; value <= x.high + x_step * 1e-6;
       value += x_step)
    svg += text(x.at(value), y.start + 16, "middle",
                short_number(std::abs(value) < x_step * 1e-6 ? 0 : value));
  return svg;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else if (c == '"')
      escaped += "&quot;";
    else
      escaped += c;
  }
  return escaped;
}

std::string short_number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

std::string line_chart(std::string_view title, std::string_view x_name,
                       const std::vector<Series>& series) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double x_low = kInfinity, x_high = -kInfinity, y_low = kInfinity, y_high = -kInfinity;
  for (const Series& one : series)
    for (const auto& [x, y] : one.points) {
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      x_low = std::min(x_low, x);
      x_high = std::max(x_high, x);
      y_low = std::min(y_low, y);
      y_high = std::max(y_high, y);
    }
  std::string svg = opened(title, kWidth, kHeight);
  if (!std::isfinite(x_low))
    return svg + text(kWidth / 2, kHeight / 2, "middle", "nothing yet") + "</svg>";
  const Axis x = fitted(x_low, x_high, kLeft, kWidth - kRight);
  const Axis y = fitted(y_low, y_high, kHeight - kBottom, kTop);
  svg += ticks(x, y);
  svg += line(x.start, y.start, x.end, y.start, "axis") +
         line(x.start, y.start, x.start, y.end, "axis");
  svg += text((x.start + x.end) / 2, kHeight - 6, "middle", x_name);
  for (std::size_t i = 0; i < series.size(); ++i) {
    const char* colour = kColours[i % kColours.size()];
    std::string places, dots;
    for (const auto& [px, py] : series[i].points) {
      if (!std::isfinite(px) || !std::isfinite(py)) continue;
      places += coordinate(x.at(px)) + "," + coordinate(y.at(py)) + " ";
      if (series[i].points.size() <= 40)
        dots += "<circle r=\"2.5\" fill=\"" + std::string(colour) + "\" cx=\"" +
                coordinate(x.at(px)) + "\" cy=\"" + coordinate(y.at(py)) + "\"/>";
    }
    svg += "<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"" + std::string(colour) +
           "\" points=\"" + places + "\"/>" + dots;
    if (series.size() == 1) continue;
    const double row = kTop + 8 + 15 * static_cast<double>(i);
    svg += "<rect x=\"" + coordinate(kLeft + 10) + "\" y=\"" + coordinate(row - 6) +
           "\" width=\"14\" height=\"3\" fill=\"" + colour + "\"/>";
    svg += text(kLeft + 30, row, "start", series[i].name);
  }
  return svg + "</svg>";
}

std::string reliability_diagram(std::string_view title, const std::vector<ReliabilityBin>& bins) {
  constexpr double kSide = 280;
  const Axis x{0, 1, kLeft, kSide - kRight};
  const Axis y{0, 1, kSide - kBottom, kTop};
  std::string svg = opened(title, kSide, kSide) + ticks(x, y);
  for (std::size_t i = 0; i < bins.size(); ++i) {
    if (bins[i].count == 0) continue;
    const double left = static_cast<double>(i) / static_cast<double>(bins.size());
    const double right = static_cast<double>(i + 1) / static_cast<double>(bins.size());
    svg += "<rect class=\"bar\" x=\"" + coordinate(x.at(left) + 1) + "\" y=\"" +
           coordinate(y.at(bins[i].accuracy)) + "\" width=\"" +
           coordinate(x.at(right) - x.at(left) - 2) + "\" height=\"" +
           coordinate(y.start - y.at(bins[i].accuracy)) + "\"><title>" +
           std::to_string(bins[i].count) + " items, confidence " +
           short_number(bins[i].confidence) + ", right " + short_number(bins[i].accuracy) +
           "</title></rect>";
  }
  svg += line(x.at(0), y.at(0), x.at(1), y.at(1), "ideal");
  svg += line(x.start, y.start, x.end, y.start, "axis") +
         line(x.start, y.start, x.start, y.end, "axis");
  svg += text((x.start + x.end) / 2, kSide - 6, "middle", "confidence");
  return svg + "</svg>";
}

}  // namespace bifocal::training

#include "training/seeds.h"

#include <cmath>
#include <numeric>

#include "training/model_card.h"

namespace bifocal::training {

double SeedOutcome::mean() const {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double SeedOutcome::deviation() const {
  if (values.size() < 2) return 0;
  const double centre = mean();
  double squares = 0;
  for (const double value : values) squares += (value - centre) * (value - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

std::string SeedOutcome::for_card() const {
  return std::to_string(values.size()) + " seeds were run: " + metric + " " + fixed(mean(), 2) +
         " on average, standard deviation " + fixed(deviation(), 2) +
         "; the best was kept, so expect the average.\n\n";
}

std::string SeedOutcome::to_text() const {
  return metric + " of " + std::to_string(values.size()) + " seeds: mean " + fixed(mean(), 2) +
         ", standard deviation " + fixed(deviation(), 2);
}

nlohmann::ordered_json SeedOutcome::to_json() const {
  return {{"event", "seeds"},
          {"metric", metric},
          {"values", values},
          {"mean", mean()},
          {"deviation", deviation()}};
}

}  // namespace bifocal::training

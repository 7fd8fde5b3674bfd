#include "training/batch_contrasts.h"

#include <ATen/ops/softplus.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "row_index.h"

namespace bifocal::training {

BatchContrasts draw_contrasts(const ContrastTexts& contrasts, const Batch& batch,
                              std::size_t per_image, std::size_t matched) {
  BatchContrasts drawn;
  const std::size_t images = batch.whole.size();
  if (images < 2) return drawn;
  std::vector<std::size_t> kinds(contrasts.kinds.size());
  std::iota(kinds.begin(), kinds.end(), std::size_t{0});
  const auto partner_of = [&](std::size_t place, std::size_t list, Random& random) {
    std::vector<std::int64_t> known;
    for (std::size_t other = 0; other < images; ++other)
      if (other != place &&
          std::ranges::binary_search(contrasts.partners[list],
                                     static_cast<std::int64_t>(batch.whole[other])))
        known.push_back(static_cast<std::int64_t>(other));
    return known.empty() ? other_row(static_cast<std::int64_t>(images),
                                     static_cast<std::int64_t>(place), random)
                         : known[random.below(known.size())];
  };
  // All ranks draw the same, and each keeps what its own images show.
  const std::size_t own_begin =
      batch.samples.size() * static_cast<std::size_t>(batch.group->rank());
  std::vector<std::pair<std::size_t, std::size_t>> shown;  // place, contrast
  std::vector<Random> randoms;                             // of each place, to draw on from
  for (std::size_t place = 0; place < images; ++place) {
    Random random = batch.random_of(batch.whole[place]);
    for (const std::size_t pair : contrasts.draw(batch.whole[place], kinds, per_image, random))
      shown.emplace_back(place, pair);
    randoms.push_back(random);
  }
  const std::size_t stride = std::max<std::size_t>((shown.size() + matched - 1) / matched, 1);
  drawn.all = shown.size();
  drawn.all_matched = (shown.size() + stride - 1) / stride;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const auto [place, number] = shown[i];
    if (place < own_begin || place >= own_begin + batch.samples.size()) continue;
    const ContrastTexts::Pair& pair = contrasts.pairs[number];
    if (i % stride == 0) drawn.matched.push_back(static_cast<std::int64_t>(drawn.image.size()));
    drawn.image.push_back(static_cast<std::int64_t>(place));
    drawn.partner.push_back(partner_of(place, pair.partners, randoms[place]));
    drawn.true_text.push_back(pair.true_text);
    drawn.false_text.push_back(pair.false_text);
  }
  return drawn;
}

void add_double_difference(Loss& loss, const at::Tensor& difference, std::size_t all, double weight,
                           const std::string& name, const ProcessGroup& group) {
  const double share =
      static_cast<double>(group.size()) / static_cast<double>(std::max<std::size_t>(all, 1));
  const at::Tensor mean = at::softplus(-difference).sum() * share;
  loss.total = loss.total + weight * mean;
  loss.parts[name] = mean.item<double>();
  loss.parts[name + " right"] = 100 * share * (difference > 0).sum().item<double>();
}

}  // namespace bifocal::training

#include "training/records.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "bifocal/error.h"
#include "training/random.h"

namespace bifocal::training {

void RecordSet::add(Record record, ImageReader read_image) {
  if (record.has_image() && !read_image)
    throw Error(ErrorCode::kInternal, "the image of " + record.id + " cannot be read");
  multi_label_ = multi_label_ || record.labels.size() > 1;
  records_.push_back(std::move(record));
  images_.push_back(std::move(read_image));
}

void RecordSet::skip(std::string where, std::string reason) {
  skipped_.push_back({std::move(where), std::move(reason)});
}

std::vector<std::string> RecordSet::labels() const {
  std::set<std::string> labels;
  for (const Record& record : records_) labels.insert(record.labels.begin(), record.labels.end());
  return {labels.begin(), labels.end()};
}

std::vector<std::byte> RecordSet::read_image(std::size_t index) const {
  const Record& record = records_.at(index);
  if (!record.has_image())
    throw Error(ErrorCode::kInvalidArgument, record.id + ": the record has no image");
  return images_[index]();
}

RecordSet RecordSet::subset(std::span<const std::size_t> indices) const {
  RecordSet result;
  result.multi_label_ = multi_label_;
  result.records_.reserve(indices.size());
  result.images_.reserve(indices.size());
  for (const std::size_t index : indices) {
    result.records_.push_back(records_.at(index));
    result.images_.push_back(images_[index]);
  }
  return result;
}

RecordSet RecordSet::of_split(std::string_view split) const {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < records_.size(); ++i)
    if (records_[i].split == split) indices.push_back(i);
  return subset(indices);
}

RecordSet RecordSet::grouped_by_image() const {
  RecordSet result;
  result.multi_label_ = multi_label_;
  std::unordered_map<std::string, std::size_t> place;
  for (std::size_t i = 0; i < records_.size(); ++i) {
    const Record& record = records_[i];
    if (record.has_image()) {
      const auto [found, is_new] = place.try_emplace(record.image, result.size());
      if (!is_new) {
        Record& first = result.records_[found->second];
        first.texts.insert(first.texts.end(), record.texts.begin(), record.texts.end());
        first.contrasts.insert(first.contrasts.end(), record.contrasts.begin(),
                               record.contrasts.end());
        continue;
      }
    }
    result.add(record, images_[i]);
  }
  return result;
}

std::string canonical_split(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "training") return "train";
  if (lower == "val" || lower == "valid" || lower == "dev" || lower == "development")
    return "validation";
  if (lower == "testing") return "test";
  return lower;
}

TrainValidation split_train_validation(const RecordSet& records, double validation_share,
                                       std::uint64_t seed) {
  if (!(validation_share > 0 && validation_share < 1))
    throw Error(ErrorCode::kInvalidArgument,
                "the share of the validation split must be above 0 and below 1");
  std::map<std::string, std::size_t> frequency;
  for (const Record& record : records.records())
    for (const std::string& label : record.labels) ++frequency[label];

  // What stays together, by the stratum it counts in.
  std::map<std::string, std::vector<std::vector<std::size_t>>> strata;
  std::unordered_map<std::string, std::pair<std::string, std::size_t>> groups;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Record& record = records[i];
    const auto rarest = std::min_element(
        record.labels.begin(), record.labels.end(), [&](const auto& a, const auto& b) {
          return std::pair(frequency[a], a) < std::pair(frequency[b], b);
        });
    const std::string stratum = rarest == record.labels.end() ? "" : *rarest;
    if (record.has_image()) {
      const auto known = groups.find(record.image);
      if (known != groups.end()) {
        strata[known->second.first][known->second.second].push_back(i);
        continue;
      }
      groups.emplace(record.image, std::pair(stratum, strata[stratum].size()));
    }
    strata[stratum].push_back({i});
  }

  TrainValidation split;
  std::uint64_t stream = 0;
  for (auto& [label, members] : strata) {
    Random random(seed, stream++);
    random.shuffle(members);
    const auto count = static_cast<double>(members.size());
    auto wanted = static_cast<std::size_t>(std::lround(validation_share * count));
    if (members.size() > 1) wanted = std::clamp<std::size_t>(wanted, 1, members.size() - 1);
    for (std::size_t m = 0; m < members.size(); ++m) {
      std::vector<std::size_t>& side = m < wanted ? split.validation : split.train;
      side.insert(side.end(), members[m].begin(), members[m].end());
    }
  }
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.validation.begin(), split.validation.end());
  return split;
}

}  // namespace bifocal::training

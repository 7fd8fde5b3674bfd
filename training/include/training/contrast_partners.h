#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "training/records.h"

namespace bifocal::training {

// Of which other pictures the false text of a contrast holds, as far as captions say: those that
// have every word that it has and the true text has not, and none that the true text alone has.
class ContrastPartners {
 public:
  // Of the captions of `records`, whose places are the numbers that are given back.
  explicit ContrastPartners(const RecordSet& records);

  // The number of a list of such pictures, which all contrasts of the same words share.
  std::size_t list_of(const Contrast& contrast);
  // Ascending; empty where there are none, or where the words are the same in another order.
  const std::vector<std::vector<std::int64_t>>& lists() const noexcept { return lists_; }

 private:
  std::vector<std::int64_t> pictures_of(const std::vector<std::string>& with,
                                        const std::vector<std::string>& without) const;

  using Words = std::vector<std::string>;
  std::map<std::string, std::vector<std::int64_t>> pictures_;  // by word, ascending
  std::map<std::pair<Words, Words>, std::size_t> known_;
  std::vector<std::vector<std::int64_t>> lists_;
};

}  // namespace bifocal::training

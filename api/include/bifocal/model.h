#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bifocal/export.h"
#include "bifocal/options.h"
#include "bifocal/result.h"
#include "bifocal/values.h"

namespace bifocal {

struct LabelSetInfo {
  std::string name;
  std::vector<std::string> labels;
};

struct PartInfo {
  std::string name;          // "vision", "text", "fusion"
  std::string architecture;  // "efficientnet-lite0"
  std::int64_t parameters = 0;
  std::int64_t multiply_adds = 0;  // vision: one image; text: 16 tokens; fusion: both of these
};

struct ModelInfo {
  std::string name;
  std::string licence;
  std::filesystem::path path;
  std::int64_t embedding_size = 0;
  std::int64_t max_tokens = 0;  // special ones included
  std::int64_t image_height = 0;
  std::int64_t image_width = 0;
  std::vector<PartInfo> parts;
  std::vector<LabelSetInfo> label_sets;
  std::string card;  // README.md of the bundle, Markdown
};

// A loaded bundle. Cheap to copy: copies share weights and workers.
// Thread-safe: any number of threads may call any const member at once.
// No member but load() throws for what an item holds: that is in the item's Result. A call that
// cannot be served whatever the items (an unknown label set) throws Error(kInvalidArgument).
class BIFOCAL_EXPORT Model {
 public:
  // Throws Error: kNotFound, kInvalidBundle, kIo. The weights are read once and shared.
  static Model load(const std::filesystem::path& bundle, const LoadOptions& options = {});

  // One vector an item, in the order given, each independent of its neighbours.
  Result<Embedding> embed(const Item& item, const EmbedOptions& options = {}) const;
  std::vector<Result<Embedding>> embed(std::span<const Item> items,
                                       const EmbedOptions& options = {}) const;

  // Scores of one of the bundle's label sets.
  Result<Classification> classify(const Item& item, const ClassifyOptions& options = {}) const;
  std::vector<Result<Classification>> classify(std::span<const Item> items,
                                               const ClassifyOptions& options = {}) const;

  // Does the text belong to the image? An item needs both.
  Result<Match> match(const Item& item) const;
  std::vector<Result<Match>> match(std::span<const Item> items) const;

  // The pieces of a text, special tokens included, truncated as embed() would.
  Result<Tokenization> tokenize(std::string_view text) const;

  const ModelInfo& info() const noexcept;

 private:
  struct State;
  explicit Model(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

}  // namespace bifocal

#include "engine/item_preparation.h"

#include <span>

#include "bifocal/error.h"
#include "vision/preprocess.h"

namespace bifocal::engine {
namespace {

void require_something(const Item& item, Side side) {
  if (side == Side::kImage && !item.image)
    throw Error(ErrorCode::kInvalidItem, "has no image, and the image alone was asked for");
  if (side == Side::kText && !item.text)
    throw Error(ErrorCode::kInvalidItem, "has no text, and the text alone was asked for");
  if (!item.image && !item.text)
    throw Error(ErrorCode::kInvalidItem, "has neither image nor text; give at least one");
}

void prepare_image(const std::vector<std::byte>& encoded, const models::FusionModel& model,
                   const vision::DecodeLimits& limits, PreparedItem& prepared) {
  const vision::Image image = vision::decode(encoded, limits);
  const vision::Preprocess& preprocess = model.preprocess();
  prepared.pixels.resize(static_cast<std::size_t>(3 * preprocess.height * preprocess.width));
  vision::preprocess_into(image, preprocess, prepared.pixels);
  prepared.provenance.image_width = image.width;
  prepared.provenance.image_height = image.height;
}

void prepare_text(const std::string& text, LongText long_text, const models::FusionModel& model,
                  PreparedItem& prepared) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos)
    throw Error(ErrorCode::kInvalidText,
                "the text is empty; leave it out to embed the image alone");
  const text::EncodeOptions options{static_cast<std::size_t>(model.max_tokens()), true};
  if (long_text == LongText::kWindows)
    prepared.windows = model.tokenizer().encode_windows(text, options);
  else
    prepared.windows.push_back(model.tokenizer().encode(text, options));
  for (const text::Encoding& window : prepared.windows) {
    prepared.provenance.tokens += static_cast<std::int64_t>(window.ids.size());
    prepared.provenance.cut_tokens += window.cut_tokens;
  }
  prepared.provenance.windows = static_cast<std::int64_t>(prepared.windows.size());
}

}  // namespace

PreparedItem prepare_item(const Item& item, const EmbedOptions& options,
                          const models::FusionModel& model, const vision::DecodeLimits& limits) {
  require_something(item, options.side);
  PreparedItem prepared;
  const bool use_image = item.image && options.side != Side::kText;
  const bool use_text = item.text && options.side != Side::kImage;
  if (use_text) prepare_text(*item.text, options.long_text, model, prepared);
  if (use_image) prepare_image(*item.image, model, limits, prepared);
  prepared.provenance.side = use_image && use_text ? Side::kFused
                             : use_image           ? Side::kImage
                                                   : Side::kText;
  return prepared;
}

}  // namespace bifocal::engine

#include "engine/item_preparation.h"

#include <algorithm>
#include <span>
#include <string>

#include "bifocal/error.h"
#include "models/fusion_model.h"
#include "vision/preprocess.h"

namespace bifocal::engine {
namespace {

bool has_text(const Item& item) { return item.text || item.token_ids; }

void require_something(const Item& item, Side side) {
  if (side == Side::kImage && !item.image)
    throw Error(ErrorCode::kInvalidItem, "has no image, and the image alone was asked for");
  if (side == Side::kText && !has_text(item))
    throw Error(ErrorCode::kInvalidItem, "has no text, and the text alone was asked for");
  if (!item.image && !has_text(item))
    throw Error(ErrorCode::kInvalidItem, "has neither image nor text; give at least one");
  if (item.text && item.token_ids)
    throw Error(ErrorCode::kInvalidItem, "has both a text and token ids; give one of them");
}

void prepare_image(const std::vector<std::byte>& encoded, const models::FusionModel& model,
                   const vision::DecodeLimits& limits, bool scaled_decode, PreparedItem& prepared) {
  const vision::Preprocess& preprocess = model.preprocess();
  const auto [image, width, height] = vision::decode_shrunk(
      encoded, scaled_decode ? vision::least_size(preprocess) : vision::LeastSize{}, limits);
  prepared.pixels.resize(static_cast<std::size_t>(3 * preprocess.height * preprocess.width));
  vision::preprocess_into(image, preprocess, prepared.pixels);
  prepared.provenance.image_width = width;
  prepared.provenance.image_height = height;
}

text::Encoding encode(const Item& item, const text::Tokenizer& tokenizer,
                      const text::EncodeOptions& options) {
  return item.text ? tokenizer.encode(*item.text, options)
                   : tokenizer.encode_ids(*item.token_ids, options);
}

text::EncodeOptions encode_options(const EmbedOptions& options, std::int64_t model_tokens) {
  if (options.max_tokens < 0)
    throw Error(ErrorCode::kInvalidArgument, "max_tokens is negative; 0 means all that fit");
  const std::int64_t limit =
      options.max_tokens == 0 ? model_tokens : std::min(options.max_tokens, model_tokens);
  return {static_cast<std::size_t>(limit), /*add_special_tokens=*/true,
          options.long_text == LongText::kKeepEnd};
}

void prepare_text(const Item& item, const EmbedOptions& options, const models::FusionModel& model,
                  PreparedItem& prepared) {
  if (item.text ? item.text->find_first_not_of(" \t\r\n") == std::string::npos
                : item.token_ids->empty())
    throw Error(ErrorCode::kInvalidText,
                "the text is empty; leave it out to embed the image alone");
  const text::EncodeOptions encoding = encode_options(options, model.max_tokens());
  if (options.long_text == LongText::kWindows && !item.text)
    throw Error(ErrorCode::kInvalidItem, "windows are made of a text, not of token ids");
  if (options.long_text == LongText::kWindows)
    prepared.windows = model.tokenizer().encode_windows(*item.text, encoding);
  else
    prepared.windows.push_back(encode(item, model.tokenizer(), encoding));
  for (const text::Encoding& window : prepared.windows) {
    prepared.provenance.tokens += static_cast<std::int64_t>(window.ids.size());
    prepared.provenance.cut_tokens += window.cut_tokens;
  }
  prepared.provenance.windows = static_cast<std::int64_t>(prepared.windows.size());
  const std::int64_t cut = prepared.provenance.cut_tokens;
  if (options.long_text == LongText::kRefuse && cut > 0)
    throw Error(ErrorCode::kInvalidText,
                "the text has " + std::to_string(prepared.provenance.tokens + cut) +
                    " tokens, more than the " + std::to_string(encoding.max_tokens) +
                    " that are taken; shorten it, or let it be truncated");
}

}  // namespace

PreparedItem prepare_item(const Item& item, const EmbedOptions& options,
                          const models::FusionModel& model, const vision::DecodeLimits& limits,
                          bool scaled_decode) {
  require_something(item, options.side);
  PreparedItem prepared;
  const bool use_image = item.image && options.side != Side::kText;
  const bool use_text = has_text(item) && options.side != Side::kImage;
  const auto began = std::chrono::steady_clock::now();
  if (use_text) prepare_text(item, options, model, prepared);
  const auto tokenized = std::chrono::steady_clock::now();
  if (use_image) prepare_image(*item.image, model, limits, scaled_decode, prepared);
  prepared.tokenizing = tokenized - began;
  prepared.decoding = std::chrono::steady_clock::now() - tokenized;
  prepared.provenance.side = use_image && use_text ? Side::kFused
                             : use_image           ? Side::kImage
                                                   : Side::kText;
  return prepared;
}

}  // namespace bifocal::engine

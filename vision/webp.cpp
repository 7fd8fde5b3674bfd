#include <webp/decode.h>
#include <webp/demux.h>

#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "bifocal/error.h"
#include "decoders.h"
#include "exif.h"
#include "rgb.h"

namespace bifocal::vision {
namespace {

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const noexcept { WebPDemuxDelete(demuxer); }
};
using Demuxer = std::unique_ptr<WebPDemuxer, DeleteDemuxer>;

Error corrupt(std::string detail) {
  return {ErrorCode::kInvalidImage, "the WebP is truncated or corrupt", std::move(detail)};
}

// Checks the chunks of the whole file against each other and against its length; no pixel yet.
Demuxer open(std::span<const std::byte> encoded) {
  const WebPData data{reinterpret_cast<const std::uint8_t*>(encoded.data()), encoded.size()};
  WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
  Demuxer demuxer(WebPDemuxPartial(&data, &state));
  if (!demuxer || state != WEBP_DEMUX_DONE)
    throw corrupt(state == WEBP_DEMUX_PARSE_ERROR ? "malformed chunks" : "the file ends early");
  return demuxer;
}

ImageHeader header_of(const WebPDemuxer* demuxer) {
  return {ImageFormat::kWebp, WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH),
          WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT)};
}

struct Frame {
  WebPIterator iterator{};
  explicit Frame(const WebPDemuxer* demuxer) {
    if (WebPDemuxGetFrame(demuxer, 1, &iterator) == 0) throw corrupt("no frame");
  }
  ~Frame() { WebPDemuxReleaseIterator(&iterator); }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
};

void decode_fragment(const WebPData& fragment, WEBP_CSP_MODE mode, std::uint8_t* out,
                     std::size_t stride, std::size_t size) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0)
    throw Error(ErrorCode::kInternal, "libwebp at run time is not the one that was built against");
  config.output.colorspace = mode;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {out, static_cast<int>(stride), size};
  const VP8StatusCode status = WebPDecode(fragment.bytes, fragment.size, &config);
  WebPFreeDecBuffer(&config.output);
  if (status == VP8_STATUS_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status == VP8_STATUS_UNSUPPORTED_FEATURE)
    throw Error(ErrorCode::kUnsupportedImage, "the WebP is of a kind that is not decoded");
  if (status != VP8_STATUS_OK) throw corrupt("libwebp status " + std::to_string(status));
}

// What a frame leaves uncovered is transparent: white. The background colour of an animation is, by
// the format's description, a hint that players ignore.
Image decode_first_frame(const WebPDemuxer* demuxer) {
  const ImageHeader canvas = header_of(demuxer);
  const Frame frame(demuxer);
  const WebPIterator& it = frame.iterator;
  const auto canvas_width = static_cast<std::size_t>(canvas.width);
  const auto canvas_height = static_cast<std::size_t>(canvas.height);
  const auto left = static_cast<std::size_t>(it.x_offset),
             top = static_cast<std::size_t>(it.y_offset);
  const auto width = static_cast<std::size_t>(it.width),
             height = static_cast<std::size_t>(it.height);
  if (it.x_offset < 0 || it.y_offset < 0 || it.width < 1 || it.height < 1 ||
      left + width > canvas_width || top + height > canvas_height)
    throw corrupt("a frame outside of its canvas");

  Image image{canvas.width, canvas.height,
              std::vector<std::uint8_t>(3 * canvas_width * canvas_height, 255)};
  std::uint8_t* const corner = image.pixels.data() + 3 * (top * canvas_width + left);
  const std::size_t stride = 3 * canvas_width;
  if ((WebPDemuxGetI(demuxer, WEBP_FF_FORMAT_FLAGS) & ALPHA_FLAG) == 0) {
    decode_fragment(it.fragment, MODE_RGB, corner, stride, stride * (height - 1) + 3 * width);
    return image;
  }
  std::vector<std::uint8_t> rgba(4 * width * height);
  decode_fragment(it.fragment, MODE_RGBA, rgba.data(), 4 * width, rgba.size());
  for (std::size_t y = 0; y < height; ++y)
    composite_on_white(rgba.data() + 4 * width * y, corner + stride * y, width);
  return image;
}

Orientation orientation_of(const WebPDemuxer* demuxer) {
  WebPChunkIterator chunk{};
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk) == 0) return 1;
  const Orientation orientation =
      read_orientation(std::as_bytes(std::span(chunk.chunk.bytes, chunk.chunk.size)));
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

}  // namespace

ImageHeader read_webp_header(std::span<const std::byte> encoded) {
  return header_of(open(encoded).get());
}

StoredImage decode_webp(std::span<const std::byte> encoded, const DecodeLimits& limits) {
  const Demuxer demuxer = open(encoded);
  check_limits(header_of(demuxer.get()), limits);
  return {decode_first_frame(demuxer.get()), orientation_of(demuxer.get())};
}

}  // namespace bifocal::vision

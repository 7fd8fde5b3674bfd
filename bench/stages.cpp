// Where the time of one photograph and one caption goes, on one thread:
//
//   build/release/bench/bench_stages [--benchmark_min_time=2]
//
// BIFOCAL_MODEL names another bundle than the default one.

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "bifocal/bifocal.h"
#include "core/files.h"
#include "models/bundle.h"
#include "models/fusion_model.h"
#include "vision/codec.h"
#include "vision/preprocess.h"

namespace {

namespace fs = std::filesystem;
using bifocal::models::FusionModel;

const std::string kCaption = "a large temple with a golden roof under a blue sky";

fs::path bundle_path() {
  if (const char* set = std::getenv("BIFOCAL_MODEL"); set != nullptr) return set;
  return fs::path(BIFOCAL_SOURCE_DIR) / "build" / "bundles" / "default";
}

const FusionModel& model() {
  static const auto loaded = FusionModel::load(bifocal::models::Bundle::open(bundle_path()),
                                               bifocal::nn::Precision::kFp32);
  return *loaded;
}

const std::vector<std::byte>& photograph() {
  static const auto bytes = bifocal::core::read_binary_file(fs::path(BIFOCAL_SOURCE_DIR) /
                                                            "examples" / "photos" / "temple.jpg");
  return bytes;
}

at::Tensor pixels() {
  const auto& preprocess = model().preprocess();
  std::vector<float> values(static_cast<std::size_t>(3 * preprocess.height * preprocess.width));
  bifocal::vision::preprocess_into(bifocal::vision::decode(photograph()), preprocess, values);
  return at::from_blob(values.data(), {1, 3, preprocess.height, preprocess.width}, at::kFloat)
      .clone();  // [1, 3, H, W]
}

at::Tensor ids() {
  auto encoding = model().tokenizer().encode(kCaption);
  return at::from_blob(encoding.ids.data(), {1, static_cast<std::int64_t>(encoding.ids.size())},
                       at::kLong)
      .clone();  // [1, L]
}

bifocal::models::TextFeatures encode(const at::Tensor& tokens) {
  return model().encode_texts(tokens, at::zeros_like(tokens),
                              at::ones_like(tokens, at::TensorOptions().dtype(at::kBool)));
}

void decode(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(bifocal::vision::decode(photograph()));
}
BENCHMARK(decode)->Unit(benchmark::kMillisecond);

void preprocess(benchmark::State& state) {
  const auto image = bifocal::vision::decode(photograph());
  const auto& how = model().preprocess();
  std::vector<float> out(static_cast<std::size_t>(3 * how.height * how.width));
  for (auto _ : state) bifocal::vision::preprocess_into(image, how, out);
}
BENCHMARK(preprocess)->Unit(benchmark::kMillisecond);

void tokenize(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(model().tokenizer().encode(kCaption));
}
BENCHMARK(tokenize)->Unit(benchmark::kMillisecond);

void vision_encoder(benchmark::State& state) {
  const c10::InferenceMode guard;
  const at::Tensor input = pixels();
  for (auto _ : state) benchmark::DoNotOptimize(model().encode_images(input));
}
BENCHMARK(vision_encoder)->Unit(benchmark::kMillisecond);

void text_encoder(benchmark::State& state) {
  const c10::InferenceMode guard;
  const at::Tensor input = ids();
  for (auto _ : state) benchmark::DoNotOptimize(encode(input));
}
BENCHMARK(text_encoder)->Unit(benchmark::kMillisecond);

void fusion_layer(benchmark::State& state) {
  const c10::InferenceMode guard;
  const auto images = model().encode_images(pixels());
  const auto texts = encode(ids());
  for (auto _ : state) benchmark::DoNotOptimize(model().fuse(&images, &texts));
}
BENCHMARK(fusion_layer)->Unit(benchmark::kMillisecond);

void photograph_and_caption_to_vector(benchmark::State& state) {
  bifocal::LoadOptions options;
  options.threads = 1;
  const auto library = bifocal::Model::load(bundle_path(), options);
  bifocal::Item item;
  item.image = photograph();
  item.text = kCaption;
  for (auto _ : state) benchmark::DoNotOptimize(library.embed(item));
}
BENCHMARK(photograph_and_caption_to_vector)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

int main(int argc, char** argv) {
  at::set_num_threads(1);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}

// embed_photo <bundle> <photograph>: prints the photograph's vector, one number a line.
#include <bifocal/bifocal.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

int main(int argc, char** argv) try {
  if (argc != 3) throw bifocal::Error(bifocal::ErrorCode::kInvalidArgument, "two paths are needed");
  std::ifstream file(argv[2], std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());

  bifocal::Item photograph;
  photograph.image.emplace(begin, begin + bytes.size());
  const auto model = bifocal::Model::load(argv[1]);
  const auto embedding = model.embed(photograph).value();  // throws the Error where there is none
  for (const float value : embedding.values) std::printf("%.9g\n", value);
} catch (const bifocal::Error& error) {
  std::fprintf(stderr, "embed_photo: %s\n", error.what());
  return bifocal::traits(error.code()).exit_code;
}

#include "settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "bifocal/error.h"
#include "temporary_directory.h"

namespace bifocal::http {
namespace {

using ::testing::HasSubstr;

std::optional<std::string> nothing(const std::string&) { return std::nullopt; }

std::string written(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << text;
  return path.string();
}

std::string refusal(const Values& flags, const std::string& file, const Environment& environment) {
  try {
    (void)read_settings(flags, file, environment);
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

TEST(Settings, FlagsCountMoreThanTheFileAndThatMoreThanTheEnvironment) {
  const bifocal::testing::TemporaryDirectory directory;
  const auto environment = [](const std::string& name) -> std::optional<std::string> {
    if (name == "BIFOCAL_PORT") return "1";
    if (name == "BIFOCAL_MAX_ITEMS") return "11";
    if (name == "BIFOCAL_MAX_IMAGES") return "111";
    if (name == "BIFOCAL_CORS_ORIGIN") return "https://a,https://b";
    return std::nullopt;
  };
  for (const std::string& file :
       {written(directory.path() / "a.toml", "port = 2\nmax_items = 22\n"),
        written(directory.path() / "a.json", R"({"port": 2, "max_items": 22})")}) {
    const Settings settings = read_settings({{"port", {"3"}}}, file, environment);
    EXPECT_EQ(settings.port, 3);
    EXPECT_EQ(settings.max_items, 22U);
    EXPECT_EQ(settings.max_images, 111U);
    EXPECT_THAT(settings.cors_origins, ::testing::ElementsAre("https://a", "https://b"));
  }
}

TEST(Settings, SaysWhereAWrongValueCameFromAndWhatIsAllowed) {
  const bifocal::testing::TemporaryDirectory directory;
  EXPECT_THAT(refusal({{"port", {"70000"}}}, "", nothing),
              ::testing::AllOf(HasSubstr("--port"), HasSubstr("65535")));
  EXPECT_THAT(refusal({}, written(directory.path() / "b.toml", "max_itms = 3\n"), nothing),
              ::testing::AllOf(HasSubstr("max_itms"), HasSubstr("max_items")));
  EXPECT_THAT(refusal({}, written(directory.path() / "c.toml", "port = [\n"), nothing),
              HasSubstr("c.toml"));
  EXPECT_THAT(
      refusal({}, "",
              [](const std::string& name) -> std::optional<std::string> {
                if (name == "BIFOCAL_PRECISION") return "fp8";
                return std::nullopt;
              }),
      ::testing::AllOf(HasSubstr("BIFOCAL_PRECISION"), HasSubstr("bf16"), HasSubstr("int8")));
  EXPECT_THAT(refusal({{"tls-key", {"key.pem"}}}, "", nothing), HasSubstr("tls-certificate"));
}

TEST(Settings, EveryDefaultIsAValueThatItsSettingTakes) {
  for (const Setting& setting : settings_table()) {
    SCOPED_TRACE(setting.name);
    EXPECT_FALSE(setting.help.empty());
    const std::string shown = setting.show(Settings());
    if (shown.empty() || setting.is_list) continue;
    Settings settings;
    EXPECT_NO_THROW(setting.set(settings, {shown}));
    EXPECT_EQ(setting.show(settings), shown);
  }
}

TEST(Settings, TheTableInTheDocumentIsTheOneThatIsPrinted) {
  std::ifstream file(std::string(BIFOCAL_SOURCE_DIR) + "/docs/serving.md");
  const std::string document{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(document, HasSubstr(settings_markdown()));
}

}  // namespace
}  // namespace bifocal::http

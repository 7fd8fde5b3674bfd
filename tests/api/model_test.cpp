#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bifocal/bifocal.h"
#include "core/files.h"
#include "encoded_picture.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"

namespace bifocal {
namespace {

using ::testing::HasSubstr;

class ModelTest : public ::testing::Test {
 protected:
  ModelTest()
      : path_(testing::write_tiny_bundle(directory_.path(), {{"animal", {"dog", "cat"}}})),
        model_(Model::load(path_)) {}

  testing::TemporaryDirectory directory_;
  std::filesystem::path path_;
  Model model_;
};

TEST_F(ModelTest, OneItemIsASpanOfOne) {
  Item item;
  item.image = testing::encoded_picture(1);
  item.text = "a red dog";
  EXPECT_EQ(model_.embed(item).value().values,
            model_.embed(std::span(&item, 1)).front().value().values);
  EXPECT_EQ(model_.classify(item).value().label_set, "animal");
  EXPECT_GT(model_.match(item).value().probability, 0.0f);
}

TEST_F(ModelTest, AnEmptySpanIsNoError) {
  EXPECT_TRUE(model_.embed(std::span<const Item>()).empty());
}

TEST_F(ModelTest, ACopySharesTheModelAndOutlivesTheFirst) {
  Item item;
  item.text = "a cat";
  auto first = std::make_unique<Model>(model_);
  const Model copy = *first;
  first.reset();
  EXPECT_EQ(copy.embed(item).value().values, model_.embed(item).value().values);
}

TEST_F(ModelTest, SaysWhatIsLoaded) {
  const ModelInfo& info = model_.info();
  EXPECT_EQ(info.name, "tiny");
  EXPECT_EQ(info.embedding_size, 24);
  EXPECT_EQ(info.max_tokens, 24);
  EXPECT_EQ(info.image_height, 64);
  ASSERT_EQ(info.parts.size(), 3u);
  EXPECT_EQ(info.parts[0].name, "vision");
  for (const PartInfo& part : info.parts) {
    EXPECT_GT(part.parameters, 0) << part.name;
    EXPECT_GT(part.multiply_adds, 0) << part.name;
  }
  ASSERT_EQ(info.label_sets.size(), 1u);
  EXPECT_EQ(info.label_sets[0].labels.size(), 2u);
}

TEST_F(ModelTest, TokensPointIntoTheText) {
  const std::string text = "The  red D\xc3\xb3g.";
  const Tokenization tokens = model_.tokenize(text).value();
  ASSERT_GE(tokens.tokens.size(), 4u);
  EXPECT_TRUE(tokens.tokens.front().special);
  EXPECT_EQ(tokens.tokens.front().piece, "[CLS]");
  EXPECT_EQ(text.substr(tokens.tokens[1].begin, tokens.tokens[1].end - tokens.tokens[1].begin),
            "The");
  EXPECT_EQ(text.substr(tokens.tokens[3].begin, tokens.tokens[3].end - tokens.tokens[3].begin),
            "D\xc3\xb3g");
  EXPECT_EQ(model_.tokenize("\xff").error().code(), ErrorCode::kInvalidText);
}

TEST_F(ModelTest, LimitsAreTheCallersToSet) {
  Item item;
  item.image = testing::encoded_picture(1, 100, 50);
  LoadOptions options;
  options.max_image_pixels = 4999;
  EXPECT_EQ(Model::load(path_, options).embed(item).error().code(), ErrorCode::kImageTooLarge);
  options.max_image_pixels = 5000;
  EXPECT_TRUE(Model::load(path_, options).embed(item).ok());
  options.max_image_bytes = item.image->size() - 1;
  EXPECT_EQ(Model::load(path_, options).embed(item).error().code(), ErrorCode::kImageTooLarge);
}

TEST_F(ModelTest, AnEditedBundleIsRefusedUnlessNotAskedToCheck) {
  const auto config = path_ / "text" / "vocab.txt";
  std::string text = core::read_text_file(config);
  text[text.find("red")] = 'b';
  core::write_file_atomically(config, text);
  try {
    Model::load(path_);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle);
    EXPECT_THAT(error.message(), HasSubstr("text/vocab.txt"));
  }
  LoadOptions options;
  options.verify_checksums = false;
  EXPECT_NO_THROW(Model::load(path_, options));
}

// Weights that one load has packed and the next one maps.
class PackedModelTest : public ModelTest {
 protected:
  PackedModelTest() : packed_(path_ / "packed" / "fp32.safetensors") {
    item_.image = testing::encoded_picture(1);
    item_.text = "a red dog";
  }
  std::vector<float> vector_of(const Model& model) const {
    return model.embed(item_).value().values;
  }

  const std::filesystem::path packed_;
  Item item_;
};

TEST_F(PackedModelTest, GiveTheSameBits) {
  ASSERT_TRUE(std::filesystem::exists(packed_));
  const auto written = std::filesystem::last_write_time(packed_);
  EXPECT_EQ(vector_of(Model::load(path_)), vector_of(model_));
  EXPECT_EQ(std::filesystem::last_write_time(packed_), written);
  LoadOptions own;
  own.packed_weights = false;
  EXPECT_EQ(vector_of(Model::load(path_, own)), vector_of(model_));
}

TEST_F(PackedModelTest, AreNotKeptWhereNobodyWantsOrHasCheckedThem) {
  std::filesystem::remove_all(packed_.parent_path());
  for (const bool verify : {true, false}) {
    LoadOptions options;
    options.verify_checksums = verify;
    options.packed_weights = !verify;
    Model::load(path_, options);
    EXPECT_FALSE(std::filesystem::exists(packed_)) << verify;
  }
}

TEST_F(PackedModelTest, DamagedArePackedAnew) {
  std::string contents = core::read_text_file(packed_);
  contents.back() = static_cast<char>(contents.back() ^ 0x55);
  core::write_file_atomically(packed_, contents);
  EXPECT_EQ(vector_of(Model::load(path_)), vector_of(model_));
  EXPECT_NE(core::read_text_file(packed_), contents);
}

TEST_F(PackedModelTest, OfAnotherBundleInTheSamePlaceAreNotTaken) {
  const std::vector<float> before = vector_of(model_);
  const testing::TemporaryDirectory made;
  models::BundleParts parts = testing::write_tiny_encoders(made.path());
  parts.seed = 77;  // of a new fusion layer
  models::write_bundle(parts, made / "bundle", false);
  for (const auto& file : std::filesystem::recursive_directory_iterator(made / "bundle"))
    if (file.is_regular_file() && file.path().parent_path().filename() != "packed")
      std::filesystem::copy_file(file, path_ / std::filesystem::relative(file, made / "bundle"),
                                 std::filesystem::copy_options::overwrite_existing);
  std::filesystem::remove(path_ / "fusion" / "labels.json");
  EXPECT_NE(vector_of(Model::load(path_)), before);
}

TEST_F(PackedModelTest, DoNotHideAFileThatWasEdited) {
  const auto vocabulary = path_ / "text" / "vocab.txt";
  const auto written = std::filesystem::last_write_time(vocabulary);
  std::string text = core::read_text_file(vocabulary);
  text[text.find("red")] = 'b';
  core::write_file_atomically(vocabulary, text);
  std::filesystem::last_write_time(vocabulary, written);
  EXPECT_THROW(Model::load(path_), Error);
}

TEST(Result, AnErrorIsThrownWhereAValueIsTaken) {
  const Result<int> bad(Error(ErrorCode::kInvalidItem, "nothing"));
  EXPECT_FALSE(bad);
  EXPECT_THROW(bad.value(), Error);
  const Result<int> good(3);
  EXPECT_EQ(good.value(), 3);
}

}  // namespace
}  // namespace bifocal

#include "training/records.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "bifocal/error.h"
#include "core/files.h"
#include "shared_data.h"
#include "tar_writer.h"
#include "temporary_directory.h"

namespace bifocal::training {
namespace {

using ::bifocal::testing::tar_end;
using ::bifocal::testing::tar_member;
using ::bifocal::testing::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RecordsTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& contents) {
    std::filesystem::create_directories((directory_ / name).parent_path());
    core::write_file_atomically(directory_ / name, contents);
  }
  RecordSet open(const std::string& name, RecordOptions options = {}) {
    return RecordSet::open(directory_ / name, options);
  }
  static std::string image(const RecordSet& set, std::size_t index) {
    const auto bytes = set.read_image(index);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  static std::vector<std::string> ids(const RecordSet& set) {
    std::vector<std::string> ids;
    for (const Record& record : set.records()) ids.push_back(record.id);
    return ids;
  }
  static RecordOptions lenient() {
    RecordOptions options;
    options.max_skipped_share = 1;
    return options;
  }
  TemporaryDirectory directory_;
};

TEST_F(RecordsTest, JsonLinesBesideTheirFiles) {
  write("photos/1.jpg", "one");
  write("d.jsonl",
        "{\"image\": \"photos/1.jpg\", \"captions\": [\"a\", \"b\"], \"label\": \"cat\"}\n\n"
        "{\"id\": 7, \"text\": \"only text\", \"labels\": [\"x\", \"y\"], \"split\": \"val\", "
        "\"other\": 1}\n"
        "{\"image\": \"data:image/png;base64,dHdv\", \"label\": 3}\r\n");
  const RecordSet set = open("d.jsonl");
  ASSERT_THAT(set.records(), SizeIs(3));
  EXPECT_THAT(set.skipped(), IsEmpty());
  EXPECT_THAT(set[0].texts, ElementsAre("a", "b"));
  EXPECT_THAT(set[0].labels, ElementsAre("cat"));
  EXPECT_EQ(image(set, 0), "one");
  EXPECT_EQ(set[1].id, "7");
  EXPECT_FALSE(set[1].has_image());
  EXPECT_THAT(set[1].labels, ElementsAre("x", "y"));
  EXPECT_EQ(set[1].split, "validation");
  EXPECT_EQ(image(set, 2), "two");
  EXPECT_THAT(set[2].labels, ElementsAre("3"));
  EXPECT_THAT(set[2].id, HasSubstr("d.jsonl:4"));
  EXPECT_TRUE(set.multi_label());
  EXPECT_THAT(set.labels(), ElementsAre("3", "cat", "x", "y"));
  EXPECT_THROW(set.read_image(1), Error);
}

TEST_F(RecordsTest, ContrastsAreRead) {
  write("d.jsonl",
        "{\"text\": \"t\", \"contrasts\": [{\"kind\": \"colour\", \"true\": \"a red cat\", "
        "\"false\": \"a blue cat\"}]}\n{\"text\": \"t\", \"contrasts\": [{\"true\": \"x\"}]}\n");
  const RecordSet set = open("d.jsonl", lenient());
  ASSERT_THAT(set.records(), SizeIs(1));
  ASSERT_THAT(set[0].contrasts, SizeIs(1));
  EXPECT_EQ(set[0].contrasts[0].kind, "colour");
  EXPECT_EQ(set[0].contrasts[0].true_text, "a red cat");
  EXPECT_EQ(set[0].contrasts[0].false_text, "a blue cat");
  EXPECT_THAT(set.skipped()[0].reason, HasSubstr("both"));
}

TEST_F(RecordsTest, JsonLinesBesideATarOfTheirName) {
  write("dev.tar",
        tar_member("images/1.jpg", "one") + tar_member("images/2.jpg", "two") + tar_end());
  write("dev.jsonl", "{\"image\": \"images/2.jpg\"}\n{\"image\": \"images/1.jpg\"}\n");
  const RecordSet set = open("dev.jsonl");
  EXPECT_THAT(ids(set), ElementsAre("images/2.jpg", "images/1.jpg"));
  EXPECT_EQ(image(set, 0), "two");
  EXPECT_EQ(set[0].split, "validation");
}

TEST_F(RecordsTest, ADirectoryOfSplitsWithOneTar) {
  write("all.tar", tar_member("1.jpg", "one") + tar_member("2.jpg", "two") + tar_end());
  write("train.jsonl", "{\"image\": \"1.jpg\", \"label\": \"a\"}\n");
  write("val.jsonl", "{\"image\": \"2.jpg\", \"label\": \"b\"}\n");
  const RecordSet set = open("");
  ASSERT_THAT(set.records(), SizeIs(2));
  EXPECT_EQ(image(set, 0), "one");
  EXPECT_EQ(set[0].split, "train");
  EXPECT_EQ(set[1].split, "validation");
  EXPECT_THAT(ids(set.of_split("validation")), ElementsAre("2.jpg"));
  RecordOptions options;
  options.split = "dev";
  EXPECT_THAT(ids(open("", options)), ElementsAre("2.jpg"));
  options.split = "test";
  EXPECT_THROW(open("", options), Error);
}

TEST_F(RecordsTest, CsvAndTsv) {
  write("1.jpg", "one");
  write("d.csv", "image,text,labels,split\r\n1.jpg,\"a, b\",x|y,train\r\n,second,,test\r\n");
  const RecordSet set = open("d.csv");
  ASSERT_THAT(set.records(), SizeIs(2));
  EXPECT_THAT(set[0].texts, ElementsAre("a, b"));
  EXPECT_THAT(set[0].labels, ElementsAre("x", "y"));
  EXPECT_EQ(image(set, 0), "one");
  EXPECT_FALSE(set[1].has_image());
  EXPECT_TRUE(set.multi_label());

  write("d.tsv", "file\tkind\n1.jpg\tcat\n");
  RecordOptions options;
  options.image_key = "file";
  options.label_key = "kind";
  EXPECT_THAT(open("d.tsv", options)[0].labels, ElementsAre("cat"));
  EXPECT_THROW(open("d.tsv"), Error);
}

TEST_F(RecordsTest, AFolderAClass) {
  write("p/b/2.png", "b2");
  write("p/a/1.jpg", "a1");
  write("p/a/1.txt", "a caption\nanother\n");
  write("p/a/notes.md", "not an image");
  write("p/.hidden/3.jpg", "hidden");
  write("p/a/4.gif", "not read");
  const RecordSet set = open("p", lenient());
  EXPECT_THAT(ids(set), ElementsAre("a/1.jpg", "b/2.png"));
  EXPECT_THAT(set[0].labels, ElementsAre("a"));
  EXPECT_THAT(set[0].texts, ElementsAre("a caption", "another"));
  EXPECT_EQ(image(set, 1), "b2");
  ASSERT_THAT(set.skipped(), SizeIs(1));
  EXPECT_THAT(set.skipped()[0].where, HasSubstr("4.gif"));
}

TEST_F(RecordsTest, ATarWithSplitsAndClassesOrWithATable) {
  write("f.tar", tar_member("val/b/2.jpg", "2") + tar_member("train/a/1.jpg", "1") + tar_end());
  const RecordSet set = open("f.tar");
  EXPECT_THAT(ids(set), ElementsAre("train/a/1.jpg", "val/b/2.jpg"));
  EXPECT_EQ(set[1].split, "validation");
  EXPECT_THAT(set[1].labels, ElementsAre("b"));
  EXPECT_EQ(image(set, 1), "2");

  write("t.tar", tar_member("i/1.jpg", "1") +
                     tar_member("data.jsonl", "{\"image\": \"i/1.jpg\", \"text\": \"t\"}\n") +
                     tar_end());
  EXPECT_THAT(open("t.tar")[0].texts, ElementsAre("t"));
}

TEST_F(RecordsTest, BadRecordsAreSkippedCountedAndListed) {
  write("1.jpg", "one");
  write("d.jsonl",
        "{\"image\": \"1.jpg\"}\n{broken\n[1]\n{\"image\": \"gone.jpg\"}\n{\"text\": \"  \"}\n"
        "{\"text\": \"\xff\"}\n{\"label\": 1.5, \"text\": \"t\"}\n");
  const RecordSet set = open("d.jsonl", lenient());
  EXPECT_THAT(set.records(), SizeIs(1));
  ASSERT_THAT(set.skipped(), SizeIs(6));
  const std::vector<std::string> reasons{"JSON", "object", "gone.jpg", "neither", "UTF-8", "label"};
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    EXPECT_THAT(set.skipped()[i].where, HasSubstr("d.jsonl:" + std::to_string(i + 2)));
    EXPECT_THAT(set.skipped()[i].reason, HasSubstr(reasons[i]));
  }
  try {
    open("d.jsonl");
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidItem);
    EXPECT_THAT(error.what(), HasSubstr("6 of 7"));
  }
}

TEST_F(RecordsTest, ACutTarLosesOnlyWhatIsGone) {
  const std::string whole = tar_member("1.jpg", "one") + tar_member("2.jpg", std::string(900, '2'));
  write("d.tar", whole.substr(0, 1536));
  write("d.jsonl", "{\"image\": \"1.jpg\"}\n{\"image\": \"2.jpg\"}\n");
  const RecordSet set = open("d.jsonl", lenient());
  EXPECT_THAT(ids(set), ElementsAre("1.jpg"));
  ASSERT_THAT(set.skipped(), SizeIs(2));
  EXPECT_THAT(set.skipped()[0].reason, HasSubstr("cut off"));
}

TEST_F(RecordsTest, CaptionsOfOneImageAreJoined) {
  write("1.jpg", "1");
  write("2.jpg", "2");
  write("d.csv", "image,caption\n1.jpg,a\n2.jpg,b\n1.jpg,c\n");
  const RecordSet set = open("d.csv").grouped_by_image();
  ASSERT_THAT(set.records(), SizeIs(2));
  EXPECT_THAT(set[0].texts, ElementsAre("a", "c"));
  EXPECT_EQ(image(set, 1), "2");
}

TEST(SplitTrainValidation, IsStratifiedKeepsImagesTogetherAndTurnsOnTheSeed) {
  RecordSet set;
  for (int i = 0; i < 200; ++i)
    set.add({std::to_string(i),
             "image" + std::to_string(i / 2),
             {},
             {i % 20 < 18 ? "common" : "rare"},
             {},
             ""},
            [] { return std::vector<std::byte>(); });
  const TrainValidation split = split_train_validation(set, 0.2, 1);
  EXPECT_EQ(split.train.size() + split.validation.size(), 200u);
  std::map<std::string, int> counts;
  std::set<std::string> images;
  for (const std::size_t i : split.validation) {
    ++counts[set[i].labels[0]];
    images.insert(set[i].image);
  }
  EXPECT_EQ(counts["common"], 36);
  EXPECT_EQ(counts["rare"], 4);
  for (const std::size_t i : split.train) EXPECT_FALSE(images.contains(set[i].image));
  EXPECT_EQ(split_train_validation(set, 0.2, 1).validation, split.validation);
  EXPECT_NE(split_train_validation(set, 0.2, 2).validation, split.validation);
  EXPECT_THROW(split_train_validation(set, 1, 1), Error);
}

TEST(RecordSetOfSharedData, ReadsFlickrAndFlowers) {
  const auto flickr = testing::shared_data("flickr8k");
  const auto flowers = testing::shared_data("flowers12");
  BIFOCAL_REQUIRE_DATA(flickr);
  BIFOCAL_REQUIRE_DATA(flowers);
  const RecordSet captions = RecordSet::open(flickr);
  EXPECT_EQ(captions.size(), 7000u);
  EXPECT_EQ(captions.of_split("validation").size(), 1000u);
  EXPECT_GT(captions.read_image(6999).size(), 1000u);
  const RecordSet classes = RecordSet::open(flowers);
  EXPECT_EQ(classes.of_split("train").size(), 720u);
  EXPECT_EQ(classes.labels().size(), 12u);
  EXPECT_EQ(RecordSet::open(flowers / "flowers12.tar").records().size(), 840u);
}

}  // namespace
}  // namespace bifocal::training

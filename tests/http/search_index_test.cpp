#include "search_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <set>
#include <thread>

#include "bifocal/error.h"
#include "npy_reader.h"
#include "temporary_directory.h"

namespace bifocal::http {
namespace {

using ::bifocal::testing::TemporaryDirectory;

using Rows = std::vector<std::vector<float>>;

std::vector<float> random_unit(std::mt19937& random, std::size_t size) {
  std::normal_distribution<float> normal;
  std::vector<float> vector(size);
  float sum = 0;
  for (float& value : vector) {
    value = normal(random);
    sum += value * value;
  }
  for (float& value : vector) value /= std::sqrt(sum);
  return vector;
}

// Around a few centres, as embeddings lie.
Rows clustered(std::mt19937& random, std::size_t count, std::size_t size) {
  Rows centres(20);
  for (auto& centre : centres) centre = random_unit(random, size);
  Rows rows(count);
  for (auto& row : rows) {
    row = random_unit(random, size);
    const auto& centre = centres[random() % centres.size()];
    float sum = 0;
    for (std::size_t i = 0; i < size; ++i) {
      row[i] = centre[i] + 0.5f * row[i];
      sum += row[i] * row[i];
    }
    for (float& value : row) value /= std::sqrt(sum);
  }
  return rows;
}

std::string npy(const Rows& rows, std::size_t columns, const std::string& shape = {}) {
  std::string dictionary =
      "{'descr': '<f4', 'fortran_order': False, 'shape': " +
      (shape.empty() ? "(" + std::to_string(rows.size()) + ", " + std::to_string(columns) + ")"
                     : shape) +
      ", }";
  dictionary.resize(117, ' ');
  dictionary += '\n';
  std::string file("\x93NUMPY\x01\x00\x76\x00", 10);
  file += dictionary;
  for (const auto& row : rows)
    file.append(reinterpret_cast<const char*>(row.data()), row.size() * sizeof(float));
  return file;
}

class SearchIndexTest : public ::testing::Test {
 protected:
  std::filesystem::path write(const Rows& rows, std::size_t columns) {
    std::ofstream(directory_ / "v.npy", std::ios::binary) << npy(rows, columns);
    std::ofstream ids(directory_ / "v.npy.ids.jsonl");
    for (std::size_t i = 0; i < rows.size(); ++i) ids << "{\"id\":\"row" << i << "\"}\n";
    return directory_ / "v.npy";
  }
  TemporaryDirectory directory_;
};

std::vector<std::string> ids_of(const std::vector<Neighbour>& neighbours) {
  std::vector<std::string> ids;
  for (const Neighbour& one : neighbours) ids.push_back(one.id);
  return ids;
}

std::vector<std::string> by_force(const Rows& rows, const std::vector<float>& query,
                                  std::size_t k) {
  std::vector<std::pair<double, std::size_t>> scored;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    double score = 0;
    for (std::size_t c = 0; c < query.size(); ++c)
      score += static_cast<double>(rows[i][c]) * static_cast<double>(query[c]);
    scored.emplace_back(-score, i);
  }
  std::sort(scored.begin(), scored.end());
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < std::min(k, scored.size()); ++i)
    ids.push_back("row" + std::to_string(scored[i].second));
  return ids;
}

TEST_F(SearchIndexTest, IsExactOverFileAndAdditionsAlike) {
  std::mt19937 random(1);
  const Rows rows = clustered(random, 400, 37);
  SearchIndex index({37, 1000, 100'000});
  index.load(write({rows.begin(), rows.begin() + 250}, 37));
  for (std::size_t i = 250; i < rows.size(); ++i) index.add("row" + std::to_string(i), rows[i]);
  EXPECT_EQ(index.size(), 400u);
  EXPECT_FALSE(index.approximate());
  for (int round = 0; round < 30; ++round) {
    const auto query = random_unit(random, 37);
    for (const std::size_t k : {1u, 7u, 500u})
      EXPECT_EQ(ids_of(index.search(query, k)), by_force(rows, query, k));
  }
}

TEST_F(SearchIndexTest, ASecondViewHasItsOwnFileAndSharesWhatIsAdded) {
  std::mt19937 random(3);
  const Rows rows = clustered(random, 30, 12);
  SearchIndex first({12, 100, 1000});
  first.add("added before", rows[20]);
  SearchIndex second({12, 100, 1000}, first);
  second.load(write({rows.begin(), rows.begin() + 20}, 12));
  first.add("added after", rows[21]);
  EXPECT_EQ(first.size(), 2u);
  EXPECT_EQ(second.size(), 22u);
  EXPECT_EQ(second.added(), 2u);
  EXPECT_EQ(ids_of(second.search(rows[21], 1)), std::vector<std::string>{"added after"});
  EXPECT_TRUE(second.remove("added before"));
  EXPECT_EQ(ids_of(first.search(rows[20], 5)), std::vector<std::string>{"added after"});
}

TEST_F(SearchIndexTest, TheGraphFindsNearlyAllThatTheExactSearchFinds) {
  std::mt19937 random(2);
  const Rows rows = clustered(random, 5000, 48);
  SearchIndex index({48, 10, 1000});
  index.load(write(rows, 48));
  index.wait_for_graph();
  EXPECT_TRUE(index.approximate());
  std::size_t found = 0;
  for (int round = 0; round < 50; ++round) {
    const auto query = rows[random() % rows.size()];
    const auto exact = by_force(rows, query, 10);
    const std::set<std::string> wanted(exact.begin(), exact.end());
    for (const auto& id : ids_of(index.search(query, 10))) found += wanted.contains(id) ? 1 : 0;
  }
  EXPECT_GE(found, 475u) << "of 500";
}

TEST_F(SearchIndexTest, RowsOfFailedRecordsAreNeverFound) {
  std::mt19937 random(3);
  Rows rows = clustered(random, 20, 8);
  rows[4].assign(8, std::numeric_limits<float>::quiet_NaN());
  SearchIndex index({8, 10, 1000});
  index.load(write(rows, 8));
  EXPECT_EQ(index.size(), 19u);
  EXPECT_THAT(ids_of(index.search(rows[0], 100)), ::testing::Not(::testing::Contains("row4")));
}

TEST_F(SearchIndexTest, AnAdditionReplacesHidesAndGoes) {
  std::mt19937 random(4);
  const Rows rows = clustered(random, 10, 8);
  SearchIndex index({8, 3, 1000});
  index.load(write(rows, 8));
  const auto query = random_unit(random, 8);
  index.add("row3", query);
  EXPECT_EQ(index.size(), 10u);
  EXPECT_EQ(index.search(query, 1)[0].id, "row3");
  EXPECT_NEAR(index.search(query, 1)[0].score, 1.0f, 1e-5f);
  EXPECT_TRUE(index.remove("row3"));
  EXPECT_FALSE(index.remove("row3"));
  EXPECT_EQ(ids_of(index.search(query, 10)), by_force(rows, query, 10));
  for (const char* id : {"a", "b", "c"}) index.add(id, query);
  EXPECT_THROW(index.add("d", query), Error);
  index.add("b", rows[0]);
  EXPECT_TRUE(index.remove("a"));
  EXPECT_EQ(index.search(rows[0], 2)[0].id, "row0") << "of equal scores the older";
  EXPECT_THROW(index.add("e", std::vector<float>(7)), Error);
}

TEST_F(SearchIndexTest, SearchesRunBesideAdditions) {
  std::mt19937 random(5);
  const Rows rows = clustered(random, 300, 16);
  SearchIndex index({16, 1000, 100'000});
  std::thread adding([&] {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      index.add("row" + std::to_string(i), rows[i]);
      if (i % 3 == 0) index.remove("row" + std::to_string(i));
    }
  });
  for (int round = 0; round < 300; ++round) EXPECT_LE(index.search(rows[0], 5).size(), 5u);
  adding.join();
  EXPECT_EQ(index.size(), 200u);
}

TEST_F(SearchIndexTest, SaysWhatDoesNotFit) {
  std::mt19937 random(6);
  SearchIndex index({9, 3, 1000});
  EXPECT_THROW(index.load(directory_ / "absent.npy"), Error);
  EXPECT_THROW(index.load(write(clustered(random, 5, 8), 8)), Error);
  const auto path = write(clustered(random, 5, 9), 9);
  std::ofstream(directory_ / "v.npy.ids.jsonl") << "{\"id\":\"one\"}\n";
  EXPECT_THROW(index.load(path), Error);
}

TEST(ReadNpy, RefusesWhatIsNotWhole) {
  const Rows rows{{1, 2, 3}, {4, 5, 6}};
  const std::string good = npy(rows, 3);
  const auto read = [](const std::string& text) {
    std::vector<float> aligned(text.size() / 4 + 1);
    std::memcpy(aligned.data(), text.data(), text.size());
    return read_npy(std::as_bytes(std::span(aligned)).first(text.size())).rows;
  };
  EXPECT_EQ(read(good), 2u);
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_THROW(read(good.substr(0, size)), Error) << size;
  EXPECT_THROW(read(good + "abcd"), Error);
  for (const char* shape : {"(2,)", "(3, 2, 1)", "()", "(-2, 3)", "(4611686018427387904, 6)",
                            "(2, 99999999999999999999)", "2"})
    EXPECT_THROW(read(npy(rows, 3, shape)), Error) << shape;
}

}  // namespace
}  // namespace bifocal::http

#include "core/files.h"

#include <gtest/gtest.h>

#include <string>

#include "bifocal/error.h"
#include "core/mapped_file.h"
#include "temporary_directory.h"

namespace bifocal::core {
namespace {

using ::bifocal::testing::TemporaryDirectory;

template <typename Call>
ErrorCode code_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::kInternal;
}

TEST(Files, WhatIsWrittenIsRead) {
  const TemporaryDirectory directory;
  for (const std::string& contents :
       {std::string(), std::string("a\0b\n", 4), std::string(200'000, 'x')}) {
    write_file_atomically(directory / "f", contents);
    EXPECT_EQ(read_text_file(directory / "f"), contents);
    const auto bytes = read_binary_file(directory / "f");
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), contents);
    const MappedFile mapped = MappedFile::open(directory / "f");
    EXPECT_EQ(mapped.bytes().size(), contents.size());
  }
  // Nothing temporary is left beside it.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(Files, AMappingOutlivesTheFileAndTheFirstCopy) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "f", "still here");
  MappedFile copy;
  {
    const MappedFile first = MappedFile::open(directory / "f");
    copy = first;
  }
  std::filesystem::remove(directory / "f");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(copy.bytes().data()), copy.bytes().size()),
            "still here");
}

TEST(Files, FailuresAreNamed) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "f", "12345");
  EXPECT_EQ(code_of([&] { read_text_file(directory / "g"); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { read_text_file(directory.path()); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { MappedFile::open(directory.path()); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { read_text_file(directory / "f", 4); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(read_text_file(directory / "f", 5), "12345");
  EXPECT_EQ(code_of([&] { write_file_atomically(directory / "no" / "f", ""); }), ErrorCode::kIo);
}

}  // namespace
}  // namespace bifocal::core

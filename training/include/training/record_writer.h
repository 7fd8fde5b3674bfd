#pragma once

#include <filesystem>
#include <functional>

#include "training/records.h"

namespace bifocal::training {

// Writes `records` as RecordSet::open() reads them: a JSON line each in `table`, and where
// `with_images` their images in a tar of the same name beside it, under the names that the records
// have; else the table names images that are elsewhere. Files appear whole or not at all.
// `progress(done, all)`: false ends it with Error(kCancelled). Throws Error(kIo), and what
// RecordSet::read_image() throws.
void write_records(const RecordSet& records, const std::filesystem::path& table, bool with_images,
                   const std::function<bool(std::size_t, std::size_t)>& progress = {});

}  // namespace bifocal::training
